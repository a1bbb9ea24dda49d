// MLX computes the outputs from the last to the first, where they are many. So those go last that are computed in few steps:
// each gradient of a network, which is propagated back from its last layer to its first, is used up by the parameters of
// its layer as soon as it is there. In another order, such as that of names, most gradients would wait for their turn.
#include "core/evaluation/output_order.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>

#include "core/handles/nodes.hpp"

namespace mlx_nif {
namespace {

// MLX takes as many abreast, whatever their order.
constexpr std::size_t few = 20;

// How many operations follow each other up to a node, of those that are still to be scheduled.
class Depths {
 public:
  int of(const mlx::core::array& output) {
    enter(output);
    while (!open_.empty()) {
      auto& [node, next_input] = open_.back();
      if (const auto& inputs = node->inputs(); next_input < inputs.size()) {
        enter(inputs[next_input++]);
      } else {
        depths_[node->id()] = 1 + greatest(inputs);
        open_.pop_back();
      }
    }
    return known(output);
  }

 private:
  void enter(const mlx::core::array& node) {
    if (is_unscheduled(node) && depths_.try_emplace(node.id(), 0).second) {
      open_.emplace_back(&node, 0);
    }
  }

  int known(const mlx::core::array& node) const {
    const auto found = depths_.find(node.id());
    return found == depths_.end() ? 0 : found->second;
  }

  int greatest(const std::vector<mlx::core::array>& nodes) const {
    int depth = 0;
    for (const mlx::core::array& node : nodes) {
      depth = std::max(depth, known(node));
    }
    return depth;
  }

  std::unordered_map<std::uintptr_t, int> depths_;
  // Nodes with the number of the input that is next to be looked at. The graph holds them.
  std::vector<std::pair<const mlx::core::array*, std::size_t>> open_;
};

}  // namespace

std::vector<mlx_array> in_order_of_need(std::span<const mlx_array> outputs) {
  std::vector<mlx_array> ordered(outputs.begin(), outputs.end());
  if (outputs.size() <= few) {
    return ordered;
  }
  Depths depths;
  std::vector<std::pair<int, mlx_array>> by_depth;
  by_depth.reserve(outputs.size());
  for (const mlx_array output : outputs) {
    by_depth.emplace_back(depths.of(array_of(output)), output);
  }
  std::ranges::stable_sort(by_depth, std::ranges::greater(), [](const auto& output) { return output.first; });
  std::ranges::transform(by_depth, ordered.begin(), [](const auto& output) { return output.second; });
  return ordered;
}

}  // namespace mlx_nif
