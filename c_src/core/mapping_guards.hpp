// Operations that MLX maps wrongly over an axis. Where they are mapped, they are made of others.
#pragma once

#include <mlx/c/mlx.h>

#include "core/handle.hpp"

namespace mlx_nif {

// The array, with the axis in front that it is mapped over.
ArrayHandle mapped_in_front(mlx_array a, mlx_stream s);

}  // namespace mlx_nif

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

// Where the last axis changes its size, it has to be the last one mapped, too.
int view(mlx_array*, mlx_array a, mlx_dtype dtype, mlx_stream);

// The result of MLX's own has the shape of the first operand.
using Bitwise = int(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
Bitwise bitwise_and, bitwise_or, bitwise_xor, left_shift, right_shift;

// MLX maps these as divisions with fractions, and the second one with one axis for two results.
int floor_divide_integers(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
int divmod_integers(mlx_vector_array*, mlx_array a, mlx_array b, mlx_stream);

// MLX forgets that the matrix is a triangle.
int linalg_tri_inv(mlx_array*, mlx_array a, bool upper, mlx_stream);
int linalg_cholesky_inv(mlx_array*, mlx_array a, bool upper, mlx_stream);
int linalg_solve_triangular(mlx_array*, mlx_array a, mlx_array b, bool upper, mlx_stream);

// MLX forgets an odd length; here it is refused.
int fft_irfft(mlx_array*, mlx_array a, int n, int axis, mlx_fft_norm, mlx_stream);
using InverseTransform = int(mlx_array*, mlx_array a, const int* n, size_t n_count, const int* axes, size_t axes_count,
                             mlx_fft_norm, mlx_stream);
InverseTransform fft_irfft2, fft_irfftn;

}  // namespace mlx_nif::guarded
