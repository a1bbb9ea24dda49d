// Remembers the limits that were set.
#include "core/memory/memory_limits.hpp"

#include <mlx/c/mlx.h>

#include <atomic>

#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

std::size_t limit_of_mlx() {
  std::size_t bytes = 0;
  check(mlx_get_memory_limit(&bytes));
  return bytes;
}

struct Limits {
  const std::size_t at_start = limit_of_mlx();
  std::atomic<std::size_t> memory = at_start;
  std::atomic<std::size_t> cache = 0;
};

Limits& limits() {
  static Limits limits;
  return limits;
}

}  // namespace

std::size_t memory_limit_at_start() {
  return limits().at_start;
}

std::size_t memory_limit() {
  return limits().memory.load(std::memory_order_relaxed);
}

std::size_t set_memory_limit(std::size_t bytes) {
  std::size_t previous = memory_limit();
  check(mlx_set_memory_limit(&previous, bytes));
  limits().memory.store(bytes, std::memory_order_relaxed);
  return previous;
}

std::size_t cache_limit() {
  return limits().cache.load(std::memory_order_relaxed);
}

std::size_t set_cache_limit(std::size_t bytes) {
  std::size_t previous = 0;
  check(mlx_set_cache_limit(&previous, bytes));
  limits().cache.store(bytes, std::memory_order_relaxed);
  return previous;
}

}  // namespace mlx_nif
