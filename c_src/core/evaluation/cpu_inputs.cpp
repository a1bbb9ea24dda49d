// Looks for the inputs in the nodes that are still to be scheduled.
#include "core/evaluation/cpu_inputs.hpp"

#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/streams/late_failure.hpp"

namespace mlx_nif {
namespace {

bool is_computed_on_cpu(const mlx::core::array& scheduled) {
  return scheduled.event().valid() && scheduled.event().stream().device == mlx::core::Device::cpu;
}

}  // namespace

void wait_for_cpu_inputs(std::span<const mlx_array> outputs) {
  for_each_scheduled_input(arrays_of(outputs), [](const mlx::core::array& input) {
    if (is_computed_on_cpu(input)) {
      wait_for_arrival(borrow(input), Mark::is_explained);
    }
  });
}

}  // namespace mlx_nif
