// What has MLX wait for all streams of CPUs.
#pragma once

#include <functional>

namespace mlx_nif {

// Runs what has MLX wait for all streams of CPUs, such as giving free buffers back: MLX throws whatever error it finds
// there. No evaluation that is known to fail runs meanwhile, and nothing is being scheduled.
void while_cpu_streams_rest(const std::function<void()>& work);

}  // namespace mlx_nif
