// Operations of which MLX computes wrong derivatives, or derivatives that read or write memory that is not theirs.
// Where they are differentiated, they are made of others.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// The derivative looks for where each greatest element came from. It does not find that of NaN, and takes it from far
// outside of the array; without the element itself and for a single one it divides by 0. Of complex numbers the value
// loses a NaN as well.
using RunningExtreme = int(mlx_array*, mlx_array a, bool reverse, bool inclusive, mlx_stream);
RunningExtreme cummax, cummin;
using RunningExtremeAlong = int(mlx_array*, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream);
RunningExtremeAlong cummax_axis, cummin_axis;

// The derivative has the values as a factor.
int full(mlx_array*, const int* shape, size_t rank, mlx_array values, mlx_dtype dtype, mlx_stream);
int full_like(mlx_array*, mlx_array a, mlx_array values, mlx_dtype dtype, mlx_stream);

// The derivative has no cotangent for the value, and those that ask for one get that of another array, or read what is
// not there. A value cannot be mapped.
int pad(mlx_array*, mlx_array a, const int* axes, size_t axis_count, const int* low, size_t low_count, const int* high,
        size_t high_count, mlx_array value, const char* mode, mlx_stream);
int pad_symmetric(mlx_array*, mlx_array a, int width, mlx_array value, const char* mode, mlx_stream);

// The derivative adds on the default stream: a GPU's has no f64.
int arctan2(mlx_array*, mlx_array a, mlx_array b, mlx_stream);

// The derivative in forward mode of two choices is a sum on the default stream: a GPU's has no f64.
int where(mlx_array*, mlx_array condition, mlx_array x, mlx_array y, mlx_stream);

}  // namespace mlx_nif::guarded
