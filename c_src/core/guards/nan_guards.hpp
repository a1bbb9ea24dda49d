// Operations in which NaN gets lost on a CPU: the least complex number, and the greatest or least number of 16 bits up
// to each. The winner is NaN where there is one, as in all other types.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

int min(mlx_array*, mlx_array a, bool keepdims, mlx_stream);
int min_axis(mlx_array*, mlx_array a, int axis, bool keepdims, mlx_stream);
int min_axes(mlx_array*, mlx_array a, const int* axes, size_t axes_count, bool keepdims, mlx_stream);

// Without their derivatives.
using RunningExtremeWithNan = int(mlx_array*, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream);
RunningExtremeWithNan cummax_axis_with_nan, cummin_axis_with_nan;

}  // namespace mlx_nif::guarded
