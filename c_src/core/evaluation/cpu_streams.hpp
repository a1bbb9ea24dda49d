// Streams of CPUs, of each of which MLX keeps an error until somebody asks, whoever that is.
#pragma once

#include <mlx/c/mlx.h>
#include <mlx/stream.h>

#include <span>
#include <vector>

namespace mlx_nif {

using CpuStreams = std::vector<mlx::core::Stream>;

CpuStreams all_cpu_streams();

// Those that the outputs are still to be computed on. Looks at nodes.
CpuStreams cpu_streams_of(std::span<const mlx_array> outputs);

// Waits for all that was scheduled on the streams, and throws away what MLX kept of errors, once each has reached all
// arrays that rest on it. Under the lock of the scheduling.
void clear_errors(const CpuStreams& streams);

}  // namespace mlx_nif
