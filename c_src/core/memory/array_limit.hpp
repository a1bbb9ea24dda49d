// Arrays that cannot exist, as memory has no room for their elements.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <cstdint>

namespace mlx_nif {

// Of the elements, as if each had memory of its own; the largest number if it overflows.
std::uint64_t size_in_bytes(mlx_array array);

// The array's elements would take more than `array_limit`.
bool is_oversized(mlx_array array);

// Throws Error for such an array. MLX itself only finds out when it uses the memory that it did not get.
void check_size(mlx_array array);

// The bytes that the elements of one array may take: MLX's memory limit at the start, until it is set.
std::size_t array_limit();

// Returns the limit that was there before.
std::size_t set_array_limit(std::size_t bytes);

}  // namespace mlx_nif
