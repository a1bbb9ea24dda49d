// Waits for streams by tasks of its own, since MLX's waiting takes the error.
#include "core/evaluation/cpu_streams.hpp"

#include <mlx/scheduler.h>

#include <algorithm>
#include <exception>
#include <future>
#include <iterator>
#include <memory>

#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/streams/late_failure.hpp"

namespace mlx_nif {
namespace {

void wait_for(const mlx::core::Stream& stream) {
  const auto done = std::make_shared<std::promise<void>>();
  mlx::core::scheduler::enqueue(stream, [done] { done->set_value(); });
  done->get_future().wait();
}

void clear_error_of(const mlx::core::Stream& stream) {
  try {
    mlx::core::scheduler::check_error(stream);
  } catch (const std::exception& error) {
    remember_late_failure(error.what());
  }
}

}  // namespace

CpuStreams all_cpu_streams() {
  CpuStreams streams;
  std::ranges::copy_if(mlx::core::get_streams(), std::back_inserter(streams), on_cpu);
  return streams;
}

CpuStreams cpu_streams_of(std::span<const mlx_array> outputs) {
  CpuStreams streams;
  for_each_node(arrays_of(outputs), {}, [&streams](const mlx::core::array& node) {
    const mlx::core::Stream stream = node.primitive().stream();
    if (on_cpu(stream) && std::ranges::find(streams, stream) == streams.end()) {
      streams.push_back(stream);
    }
  });
  return streams;
}

// An error goes on to another stream when that comes to a task that waits for the first one, and would not if it had
// been thrown away by then.
void clear_errors(const CpuStreams& streams) {
  std::ranges::for_each(streams, wait_for);
  std::ranges::for_each(streams, clear_error_of);
}

}  // namespace mlx_nif
