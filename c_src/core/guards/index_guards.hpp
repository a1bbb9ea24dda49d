// Operations that read or write wherever indices say, also outside of the array; here the indices are clamped into
// [-n, n - 1] for an axis of size n, and the start of a slice so that the slice fits.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards, and is made of other operations of MLX, so that it is a
// graph like any other. They throw as well as return a status.
namespace mlx_nif::guarded {

int take(mlx_array*, mlx_array a, mlx_array indices, mlx_stream);
int take_axis(mlx_array*, mlx_array a, mlx_array indices, int axis, mlx_stream);
int take_along_axis(mlx_array*, mlx_array a, mlx_array indices, int axis, mlx_stream);
int put_along_axis(mlx_array*, mlx_array a, mlx_array indices, mlx_array values, int axis, mlx_stream);
int scatter_add_axis(mlx_array*, mlx_array a, mlx_array indices, mlx_array values, int axis, mlx_stream);

int gather(mlx_array*, mlx_array a, mlx_vector_array indices, const int* axes, size_t axes_count,
           const int* slice_sizes, size_t slice_sizes_count, mlx_stream);
int gather_single(mlx_array*, mlx_array a, mlx_array indices, int axis, const int* slice_sizes,
                  size_t slice_sizes_count, mlx_stream);

int segmented_mm(mlx_array*, mlx_array a, mlx_array b, mlx_array segments, mlx_stream);
int fast_cross_entropy(mlx_array*, mlx_array logits, mlx_array targets, mlx_stream);

}  // namespace mlx_nif::guarded
