// Arrays that cannot exist.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>

namespace mlx_nif {

// The array's elements would not fit into the memory limit.
bool is_oversized(mlx_array array);

// Throws Error for such an array. MLX itself only finds out when it uses the memory that it did not get.
void check_size(mlx_array array);

// Follows MLX's memory limit, which is read once and then only changed through `set_memory_limit`.
std::size_t set_memory_limit(std::size_t bytes);

}  // namespace mlx_nif
