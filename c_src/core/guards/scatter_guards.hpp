// Updates of the places that indices say, also outside of the array; here the indices are clamped so that the updates
// fit. Without updates the array stays as it is.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards, and is made of other operations of MLX, so that it is a
// graph like any other. They throw as well as return a status.
namespace mlx_nif::guarded {

using Scatter = int(mlx_array*, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
                    size_t axes_count, mlx_stream);
Scatter scatter, scatter_add, scatter_max, scatter_min, scatter_prod;

using ScatterSingle = int(mlx_array*, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream);
ScatterSingle scatter_single, scatter_add_single, scatter_max_single, scatter_min_single, scatter_prod_single;

}  // namespace mlx_nif::guarded
