// Operations of which MLX computes wrong derivatives, or derivatives that read or write memory that is not theirs.
// Where they are differentiated, they are made of others.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// The derivative looks for where each greatest element came from. It does not find that of NaN, and takes it from far
// outside of the array; without the element itself and for a single one it divides by 0.
using RunningExtreme = int(mlx_array*, mlx_array a, bool reverse, bool inclusive, mlx_stream);
RunningExtreme cummax, cummin;
using RunningExtremeAlong = int(mlx_array*, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream);
RunningExtremeAlong cummax_axis, cummin_axis;

// The derivative has the values as a factor.
int full(mlx_array*, const int* shape, size_t rank, mlx_array values, mlx_dtype dtype, mlx_stream);
int full_like(mlx_array*, mlx_array a, mlx_array values, mlx_dtype dtype, mlx_stream);

// The derivative of a step over a single element is 0.
int flip(mlx_array*, mlx_array a, mlx_stream);
int flip_axes(mlx_array*, mlx_array a, const int* axes, size_t axes_count, mlx_stream);
int flip_axis(mlx_array*, mlx_array a, int axis, mlx_stream);

// MLX takes an axis for its place among the axes; and a border of a single element is flipped, too.
int pad(mlx_array*, mlx_array a, const int* axes, size_t axes_count, const int* low, size_t low_count, const int* high,
        size_t high_count, mlx_array value, const char* mode, mlx_stream);
int pad_symmetric(mlx_array*, mlx_array a, int width, mlx_array value, const char* mode, mlx_stream);

// A single pair of features is cut out with steps of two. Both orders of the features are the same then.
int fast_rope(mlx_array*, mlx_array x, int dims, bool traditional, mlx_optional_float base, float scale, int offset,
              mlx_array freqs, mlx_stream);
int fast_rope_dynamic(mlx_array*, mlx_array x, int dims, bool traditional, mlx_optional_float base, float scale,
                      mlx_array offset, mlx_array freqs, mlx_stream);

}  // namespace mlx_nif::guarded
