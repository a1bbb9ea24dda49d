// Keeps what MLX does not tell of its limits, and chooses those at the start.
#include "core/memory/limits.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <format>
#include <limits>
#include <string>

#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

constexpr std::size_t most_free_bytes = std::size_t{256} << 20;
constexpr std::size_t parts_of_memory = 16;
constexpr std::size_t parts_of_metal_memory = 4;

// As MLX does of the memory of a machine.
constexpr std::size_t used_fifths = 4;

// The virtual machine holds glibc to mapping all of 128 KiB and more, and to unmapping it when it is freed, which
// interrupts every thread: for each buffer, and for each product of OpenBLAS. Else glibc raises the size by need, to
// this.
void keep_free_mappings() {
#ifdef __GLIBC__
  constexpr int greatest_threshold = 32 << 20;
  mallopt(M_MMAP_THRESHOLD, greatest_threshold);
  mallopt(M_TRIM_THRESHOLD, 2 * greatest_threshold);
#endif
}

std::size_t limit_of_mlx() {
  std::size_t bytes = 0;
  check(mlx_get_memory_limit(&bytes));
  return bytes;
}

// MLX's own limit at the start is what the machine has room for.
struct Limits {
  std::atomic<std::size_t> memory = limit_of_mlx();
  std::atomic<std::size_t> array = memory.load();
  std::atomic<std::size_t> cache = 0;
};

Limits& limits() {
  static Limits limits;
  return limits;
}

std::string shape_of(mlx_array array) {
  std::string shape = "{";
  const int* dimensions = mlx_array_shape(array);
  const std::size_t rank = mlx_array_ndim(array);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    shape += std::format("{}{}", axis == 0 ? "" : ", ", dimensions[axis]);
  }
  return shape + "}";
}

}  // namespace

// MLX's own product of the dimensions can overflow.
std::uint64_t size_in_bytes(mlx_array array) {
  std::uint64_t bytes = mlx_dtype_size(mlx_array_dtype(array));
  const int* dimensions = mlx_array_shape(array);
  const std::size_t rank = mlx_array_ndim(array);
  bool overflow = false;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (dimensions[axis] == 0) {
      return 0;
    }
    overflow |= __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dimensions[axis]), &bytes);
  }
  return overflow ? std::numeric_limits<std::uint64_t>::max() : bytes;
}

bool is_oversized(mlx_array array) {
  return size_in_bytes(array) > array_limit();
}

void check_size(mlx_array array) {
  if (is_oversized(array)) {
    throw Error(std::format("an array of shape {} and {} bytes an element exceeds the array limit of {:.1f} GB",
                            shape_of(array), mlx_dtype_size(mlx_array_dtype(array)),
                            static_cast<double>(array_limit()) / 1e9));
  }
}

std::size_t array_limit() {
  return limits().array.load(std::memory_order_relaxed);
}

std::size_t set_array_limit(std::size_t bytes) {
  return limits().array.exchange(bytes, std::memory_order_relaxed);
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

void keep_free_buffers() {
  bool metal = false;
  check(mlx_metal_is_available(&metal));
  const std::size_t bytes =
      metal ? memory_limit() / parts_of_metal_memory : std::min(most_free_bytes, memory_limit() / parts_of_memory);
  const std::size_t previous = set_cache_limit(bytes);
  if (previous > bytes && !metal) {
    set_cache_limit(previous);
  }
  keep_free_mappings();
}

void keep_within_room(std::size_t room) {
  const std::size_t bytes = room / 5 * used_fifths;
  if (bytes < memory_limit()) {
    set_memory_limit(bytes);
    set_array_limit(bytes);
    set_cache_limit(std::min(cache_limit(), bytes / parts_of_memory));
  }
}

}  // namespace mlx_nif
