// Tells MLX the larger of two limits whenever it changes.
#include "core/memory/wired_memory.hpp"

#include <mlx/c/mlx.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "core/handles/error.hpp"

namespace mlx_nif::wired_memory {
namespace {

struct Limits {
  std::mutex mutex;
  std::size_t for_all = 0;
  std::size_t held = 0;

  std::size_t in_force() const { return std::max(for_all, held); }

  static Limits& instance() {
    static Limits* const limits = new Limits;
    return *limits;
  }
};

// Returns the limit that was there before, which stays when MLX refuses the new one.
std::size_t change(std::size_t Limits::* limit, std::size_t bytes) {
  auto& limits = Limits::instance();
  const std::lock_guard lock(limits.mutex);
  const std::size_t in_force = limits.in_force();
  const std::size_t before = std::exchange(limits.*limit, bytes);
  if (limits.in_force() != in_force) {
    std::size_t previous = 0;
    try {
      check(mlx_set_wired_limit(&previous, limits.in_force()));
    } catch (const Error&) {
      limits.*limit = before;
      throw;
    }
  }
  return before;
}

}  // namespace

std::size_t set_limit(std::size_t bytes) {
  return change(&Limits::for_all, bytes);
}

void hold(std::size_t bytes) {
  change(&Limits::held, bytes);
}

std::size_t limit() {
  auto& limits = Limits::instance();
  const std::lock_guard lock(limits.mutex);
  return limits.in_force();
}

}  // namespace mlx_nif::wired_memory
