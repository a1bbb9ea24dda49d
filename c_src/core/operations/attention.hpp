// Attention with scaled products.
#pragma once

#include <mlx/c/mlx.h>

namespace mlx_nif {

// MLX's own, of whose softmax a CPU has a faster one.
int scaled_dot_product_attention(mlx_array* result, mlx_array queries, mlx_array keys, mlx_array values, float scale,
                                 const char* mask_mode, mlx_array mask, mlx_array sinks, bool force_fused, mlx_stream);

}  // namespace mlx_nif
