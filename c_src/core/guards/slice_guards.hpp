// Slices: MLX divides by their steps, takes their starts for right, and maps updates of them wrongly.
#pragma once

#include <mlx/c/mlx.h>

#include <functional>

#include "core/handles/handle.hpp"

// Each has the signature of the mlx-c function that it guards, and is made of other operations of MLX, so that it is a
// graph like any other. They throw as well as return a status.
namespace mlx_nif::guarded {

// An update of the part of `a` where `place(onto, values)` puts values, in a way that can be mapped over axes of
// either.
using Place = std::function<ArrayHandle(mlx_array onto, mlx_array values)>;
using Combine = int(mlx_array*, mlx_array a, mlx_array update, mlx_stream);
int update_by_mask(mlx_array*, mlx_array a, mlx_array update, const Place& place, Combine& combine, mlx_stream);

// The update itself: `combine` for values that are put in the place of others.
Combine replace_by_update;

// The step of a slice is a divisor.
int slice(mlx_array*, mlx_array a, const int* start, size_t start_count, const int* stop, size_t stop_count,
          const int* strides, size_t strides_count, mlx_stream);
// Mapped over an axis of the array but not of the update, MLX only updates the first slice.
using SliceUpdate = int(mlx_array*, mlx_array a, mlx_array update, const int* start, size_t start_count,
                        const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream);
SliceUpdate slice_update, slice_update_add, slice_update_max, slice_update_min, slice_update_prod;

// The start is clamped so that the slice fits.
int slice_dynamic(mlx_array*, mlx_array a, mlx_array start, const int* axes, size_t axes_count, const int* slice_size,
                  size_t slice_size_count, mlx_stream);
int slice_update_dynamic(mlx_array*, mlx_array a, mlx_array update, mlx_array start, const int* axes, size_t axes_count,
                         mlx_stream);

}  // namespace mlx_nif::guarded
