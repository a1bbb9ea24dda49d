// Functions made of exponentials, for which a CPU has vectors that MLX leaves unused.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

int exp(mlx_array*, mlx_array a, mlx_stream);
int sigmoid(mlx_array*, mlx_array a, mlx_stream);

}  // namespace mlx_nif::guarded
