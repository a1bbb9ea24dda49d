// Operations that read memory that is not theirs, or stop the process, for some inputs; here they are defined for all.
#pragma once

#include <mlx/c/mlx.h>

#include <cstdint>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// Indices into `size` elements, for operations of MLX that do not count those below 0 from the end. Null stays null.
ArrayHandle clamp_from_front(mlx_array indices, std::int64_t size, mlx_stream s);

}  // namespace mlx_nif

// Each has the signature of the mlx-c function that it guards, and is made of other operations of MLX, so that it is a
// graph like any other. They throw as well as return a status.
namespace mlx_nif::guarded {

// Indices are clamped into [-n, n - 1] for an axis of size n, and the start of a slice so that the slice fits.
int take(mlx_array*, mlx_array a, mlx_array indices, mlx_stream);
int take_axis(mlx_array*, mlx_array a, mlx_array indices, int axis, mlx_stream);
int take_along_axis(mlx_array*, mlx_array a, mlx_array indices, int axis, mlx_stream);
int put_along_axis(mlx_array*, mlx_array a, mlx_array indices, mlx_array values, int axis, mlx_stream);
int scatter_add_axis(mlx_array*, mlx_array a, mlx_array indices, mlx_array values, int axis, mlx_stream);

int gather(mlx_array*, mlx_array a, mlx_vector_array indices, const int* axes, size_t axes_count,
           const int* slice_sizes, size_t slice_sizes_count, mlx_stream);
int gather_single(mlx_array*, mlx_array a, mlx_array indices, int axis, const int* slice_sizes,
                  size_t slice_sizes_count, mlx_stream);

using Scatter = int(mlx_array*, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
                    size_t axes_count, mlx_stream);
Scatter scatter, scatter_add, scatter_max, scatter_min, scatter_prod;

using ScatterSingle = int(mlx_array*, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream);
ScatterSingle scatter_single, scatter_add_single, scatter_max_single, scatter_min_single, scatter_prod_single;

int slice_dynamic(mlx_array*, mlx_array a, mlx_array start, const int* axes, size_t axes_count, const int* slice_size,
                  size_t slice_size_count, mlx_stream);
int slice_update_dynamic(mlx_array*, mlx_array a, mlx_array update, mlx_array start, const int* axes, size_t axes_count,
                         mlx_stream);

int segmented_mm(mlx_array*, mlx_array a, mlx_array b, mlx_array segments, mlx_stream);
int fast_cross_entropy(mlx_array*, mlx_array logits, mlx_array targets, mlx_stream);

// A view must stay within its array.
int as_strided(mlx_array*, mlx_array a, const int* shape, size_t rank, const int64_t* strides, size_t strides_count,
               size_t offset, mlx_stream);

// Integer division as an Apple Silicon CPU does it: a quotient by 0 is 0 and its remainder the dividend, and the
// smallest integer divided by -1 stays what it is.
int floor_divide(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
int remainder(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
// MLX's own cuts the quotient of integers; and mapped, it reads beyond its axes. The derivative is 0, as MLX defines
// it.
int divmod(mlx_vector_array*, mlx_array a, mlx_array b, mlx_stream);

}  // namespace mlx_nif::guarded
