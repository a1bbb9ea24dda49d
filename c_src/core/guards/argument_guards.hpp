// Operations that stop the process, or read memory that is not theirs, for some arguments; here they refuse those.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <span>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// Throws for an axis that the array does not have.
void check_axes(mlx_array a, std::span<const int> axes);

// MLX uses these axes without a look at the rank.
int number_of_elements(mlx_array*, mlx_array a, const int* axes, size_t axes_count, bool inverted, mlx_dtype dtype,
                       mlx_stream);

// Without elements along the axis, MLX makes any number of arrays.
int split(mlx_vector_array*, mlx_array a, int count, int axis, mlx_stream);

// MLX makes a graph of `n` differences; from the size of the axis on they are empty.
int diff(mlx_array*, mlx_array a, int n, int axis, mlx_stream);

// MLX sums the elements of an empty diagonal for ever.
int trace(mlx_array*, mlx_array a, mlx_stream);
int trace_axes(mlx_array*, mlx_array a, int offset, int axis1, int axis2, mlx_dtype dtype, mlx_stream);

// What is taken from nothing.
int masked_scatter(mlx_array*, mlx_array a, mlx_array mask, mlx_array source, mlx_stream);
int depends(mlx_vector_array*, mlx_vector_array inputs, mlx_vector_array dependencies);
int linalg_lu(mlx_vector_array*, mlx_array a, mlx_stream);
int linalg_lu_factor(mlx_array*, mlx_array*, mlx_array a, mlx_stream);

// LAPACK looks for eigenvalues of a matrix with NaN or an infinity for ever; here they are NaN.
int linalg_eig(mlx_array*, mlx_array*, mlx_array a, mlx_stream);
int linalg_eigvals(mlx_array*, mlx_array a, mlx_stream);

}  // namespace mlx_nif::guarded
