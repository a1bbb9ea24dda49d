#include "core/wired_memory.hpp"

#include <mlx/c/mlx.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <tuple>
#include <utility>

#include "core/error.hpp"

namespace mlx_nif::wired_memory {
namespace {

struct Limits {
  std::mutex mutex;
  std::size_t for_all = 0;
  std::multiset<std::size_t> held;

  std::size_t in_force() const { return held.empty() ? for_all : std::max(for_all, *held.rbegin()); }

  static Limits& instance() {
    static Limits* const limits = new Limits;
    return *limits;
  }
};

template <typename Change>
auto change(const Change& apply) {
  auto& limits = Limits::instance();
  const std::lock_guard lock(limits.mutex);
  const std::size_t before = limits.in_force();
  const auto undo = std::pair(limits.for_all, limits.held);
  auto result = apply(limits);
  if (limits.in_force() != before) {
    std::size_t previous = 0;
    try {
      check(mlx_set_wired_limit(&previous, limits.in_force()));
    } catch (const Error&) {
      std::tie(limits.for_all, limits.held) = undo;
      throw;
    }
  }
  return result;
}

}  // namespace

std::size_t set_limit(std::size_t bytes) {
  return change([bytes](Limits& limits) { return std::exchange(limits.for_all, bytes); });
}

void hold(std::size_t bytes) {
  change([bytes](Limits& limits) { return limits.held.insert(bytes); });
}

void release(std::size_t bytes) {
  change([bytes](Limits& limits) {
    if (const auto held = limits.held.find(bytes); held != limits.held.end()) {
      limits.held.erase(held);
    }
    return bytes;
  });
}

std::size_t limit() {
  auto& limits = Limits::instance();
  const std::lock_guard lock(limits.mutex);
  return limits.in_force();
}

}  // namespace mlx_nif::wired_memory
