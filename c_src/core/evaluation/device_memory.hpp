// Values in the memory of a GPU of NVIDIA.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <span>

namespace mlx_nif {

// Copies the value of a row-major array, as many bytes as `target` has, to the memory of the host, and leaves its
// buffer where it is. False where it is not in a GPU's memory, or the driver does not copy it. As good as scheduling.
//
// MLX itself moves the buffer into memory that host and GPU share, which is made for it and takes longer than all else
// of a read. In Python this memory is free again after the read, and is taken for the next result; here a result lives
// until its process is collected.
bool copy_from_gpu(mlx_array row_major, std::span<std::byte> target);

// Whether the value is in the pool for single numbers, of which nothing moves. On CUDA.
bool is_in_small_pool(mlx_array array);

}  // namespace mlx_nif
