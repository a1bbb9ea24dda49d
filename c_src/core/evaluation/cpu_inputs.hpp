// What a graph takes from evaluations that CPU streams have not done yet.
#pragma once

#include <mlx/c/mlx.h>

#include <span>

namespace mlx_nif {

// Waits on the host for each such input. MLX would have the GPU wait, which on CUDA is a kernel that spins until the
// CPU stream launches another; and neither ends once any thread frees memory, which waits for the GPU under the
// driver's lock, without which nothing is launched. Under the locks of the graphs.
void wait_for_cpu_inputs(std::span<const mlx_array> outputs);

}  // namespace mlx_nif
