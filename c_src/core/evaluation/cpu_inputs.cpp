// Looks for the inputs in the nodes that are still to be scheduled.
#include "core/evaluation/cpu_inputs.hpp"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

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
  std::vector<mlx::core::array> open;
  std::ranges::transform(outputs, std::back_inserter(open), array_of);
  NodeIds seen;
  while (!open.empty()) {
    const mlx::core::array node = std::move(open.back());
    open.pop_back();
    if (!is_unscheduled(node)) {
      if (is_computed_on_cpu(node)) {
        wait_for_arrival(borrow(node), Mark::is_explained);
      }
    } else if (seen.insert(node.id()).second) {
      std::ranges::copy(node.inputs(), std::back_inserter(open));
    }
  }
}

}  // namespace mlx_nif
