// Waiting for all that a stream has to do.
#pragma once

#include <mlx/c/mlx.h>

namespace mlx_nif {

// Waits until all that was handed to the stream is done, and what it used is freed.
void synchronize(mlx_stream stream);

}  // namespace mlx_nif
