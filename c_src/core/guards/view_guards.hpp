// Views of an array with strides of the caller's, through which MLX reads whatever is there.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <cstdint>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// A view must stay within its array. MLX refuses a line of elements with strides of its own when it computes the view.
int as_strided(mlx_array*, mlx_array a, const int* shape, size_t rank, const int64_t* strides, size_t strides_count,
               size_t offset, mlx_stream);

}  // namespace mlx_nif::guarded
