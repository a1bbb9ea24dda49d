// Arrays in the order of their rows, which is how a view with strides reads them.
#pragma once

#include <mlx/mlx.h>

namespace mlx_nif {

// The array in the order of its rows. MLX hands a tangent of such an array on as it lies; here it is put in order too.
mlx::core::array in_rows(const mlx::core::array& array, mlx::core::Stream stream);

}  // namespace mlx_nif
