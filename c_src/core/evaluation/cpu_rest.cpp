// Waits for the streams before MLX does, and leaves it no error.
#include "core/evaluation/cpu_rest.hpp"

#include "core/evaluation/cpu_streams.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/evaluation/stream_use.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {

// With a GPU, MLX waits for no stream of a CPU.
void while_cpu_streams_rest(const std::function<void()>& work) {
  const StreamUse use(false, Waiting::unlimited);
  between_schedules([&work] {
    if (!Streams::instance().has(MLX_GPU)) {
      clear_errors(all_cpu_streams());
    }
    work();
  });
}

}  // namespace mlx_nif
