// Division of integers, which ends the process for some divisors; here it is defined for all.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards, and is made of other operations of MLX, so that it is a
// graph like any other. They throw as well as return a status.
namespace mlx_nif::guarded {

// Integer division as an Apple Silicon CPU does it: a quotient by 0 is 0 and its remainder the dividend, and the
// smallest integer divided by -1 stays what it is.
int floor_divide(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
int remainder(mlx_array*, mlx_array a, mlx_array b, mlx_stream);
// MLX's own cuts the quotient of integers; and mapped, it reads beyond its axes. The derivative is 0, as MLX defines
// it.
int divmod(mlx_vector_array*, mlx_array a, mlx_array b, mlx_stream);

}  // namespace mlx_nif::guarded
