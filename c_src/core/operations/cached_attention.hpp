// The attention of new positions to all positions so far, whose keys and values are kept.
#pragma once

#include <mlx/c/mlx.h>

namespace mlx_nif {

// Writes the keys and values, {batch, heads, count, features}, into buffers of more positions, from position `start`
// on, an integer that is known when this is called or when a compiled function is; and attends to all positions up to
// these. The results are the output and both buffers. In the way of mlx-c's functions, but it also throws.
int cached_attention(mlx_vector_array* results, mlx_array queries, mlx_array keys, mlx_array values,
                     mlx_array key_buffer, mlx_array value_buffer, mlx_array start, float scale, mlx_stream);

}  // namespace mlx_nif
