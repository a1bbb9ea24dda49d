// Matrices that are zero but on a diagonal. MLX scatters the numbers into zeros, and no GPU scatters those of 64 bits;
// here they are chosen at their places instead.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

int eye(mlx_array*, int n, int m, int k, mlx_dtype, mlx_stream);
int identity(mlx_array*, int n, mlx_dtype, mlx_stream);
int diag(mlx_array*, mlx_array a, int k, mlx_stream);

}  // namespace mlx_nif::guarded
