#include "core/limits.hpp"

#include <atomic>
#include <format>
#include <string>

#include "core/error.hpp"

namespace mlx_nif {
namespace {

std::atomic<std::size_t>& limit() {
  static std::atomic<std::size_t> bytes = [] {
    std::size_t value = 0;
    check(mlx_get_memory_limit(&value));
    return value;
  }();
  return bytes;
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

void check_size(mlx_array array) {
  // A double does not overflow as the product of dimensions in MLX does.
  double bytes = static_cast<double>(mlx_dtype_size(mlx_array_dtype(array)));
  const int* dimensions = mlx_array_shape(array);
  const std::size_t rank = mlx_array_ndim(array);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    bytes *= dimensions[axis];
  }
  const auto most = static_cast<double>(limit().load(std::memory_order_relaxed));
  if (bytes > most) {
    throw Error(std::format("an array of shape {} takes {:.1f} GB, and the memory limit is {:.1f} GB", shape_of(array),
                            bytes / 1e9, most / 1e9));
  }
}

std::size_t set_memory_limit(std::size_t bytes) {
  std::size_t previous = 0;
  check(mlx_set_memory_limit(&previous, bytes));
  limit().store(bytes, std::memory_order_relaxed);
  return previous;
}

}  // namespace mlx_nif
