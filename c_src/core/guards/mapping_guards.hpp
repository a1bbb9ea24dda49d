// Operations that MLX maps wrongly over an axis. Where they are mapped, they are made of others.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// The result of MLX's own has the mapped axis of the first operand, and is not mapped when that is not.
int not_equal(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
int logical_xor(mlx_array*, mlx_array a, mlx_array b, mlx_stream);

// MLX forgets that NaN equals NaN.
int array_equal(mlx_array*, mlx_array a, mlx_array b, bool equal_nan, mlx_stream);

// MLX adds several axes at once, and the mapped one is not where it takes it for.
int argmax(mlx_array*, mlx_array a, bool keep_axes, mlx_stream);
int argmin(mlx_array*, mlx_array a, bool keep_axes, mlx_stream);

// The result of MLX's own has the shape of the first operand.
using Bitwise = int(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
Bitwise bitwise_and, bitwise_or, bitwise_xor, left_shift, right_shift;

// MLX forgets that the matrix is a triangle.
int linalg_tri_inv(mlx_array*, mlx_array a, bool upper, mlx_stream);
int linalg_cholesky_inv(mlx_array*, mlx_array a, bool upper, mlx_stream);
int linalg_solve_triangular(mlx_array*, mlx_array a, mlx_array b, bool upper, mlx_stream);

}  // namespace mlx_nif::guarded
