// Computes sizes that MLX lets overflow, and compares them with the limit.
#include "core/memory/array_limit.hpp"

#include <atomic>
#include <format>
#include <limits>
#include <string>

#include "core/handles/arguments.hpp"
#include "core/handles/error.hpp"
#include "core/memory/memory_limits.hpp"

namespace mlx_nif {
namespace {

std::atomic<std::size_t>& limit() {
  static std::atomic<std::size_t> limit = memory_limit_at_start();
  return limit;
}

std::string text_of_shape(mlx_array array) {
  std::string shape = "{";
  for (const int size : shape_of(array)) {
    shape += std::format("{}{}", shape.size() == 1 ? "" : ", ", size);
  }
  return shape + "}";
}

}  // namespace

// MLX's own product of the dimensions can overflow.
std::uint64_t size_in_bytes(mlx_array array) {
  std::uint64_t bytes = mlx_dtype_size(mlx_array_dtype(array));
  bool overflow = false;
  for (const int size : shape_of(array)) {
    if (size == 0) {
      return 0;
    }
    overflow |= __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes);
  }
  return overflow ? std::numeric_limits<std::uint64_t>::max() : bytes;
}

bool is_oversized(mlx_array array) {
  return size_in_bytes(array) > array_limit();
}

void check_size(mlx_array array) {
  if (is_oversized(array)) {
    throw Error(std::format("an array of shape {} and {} bytes an element exceeds the array limit of {:.1f} GB",
                            text_of_shape(array), mlx_dtype_size(mlx_array_dtype(array)),
                            static_cast<double>(array_limit()) / 1e9));
  }
}

std::size_t array_limit() {
  return limit().load(std::memory_order_relaxed);
}

std::size_t set_array_limit(std::size_t bytes) {
  return limit().exchange(bytes, std::memory_order_relaxed);
}

}  // namespace mlx_nif
