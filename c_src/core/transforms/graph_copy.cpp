// Copies nodes from those that others need to those that need them.
#include "core/transforms/graph_copy.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <unordered_map>

#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/recording/ruled_operation.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

mx::array value_of(const mx::array& node) {
  mx::array value(node.shape(), node.dtype(), nullptr, std::vector<mx::array>{});
  value.copy_shared_buffer(node);
  value.set_status(mx::array::Status::available);
  return value;
}

MlxArrays inputs_of(const mx::array& node) {
  MlxArrays inputs = node.inputs();
  std::ranges::copy(hidden_inputs(node), std::back_inserter(inputs));
  return inputs;
}

// The nodes without values, each after its inputs, without recursion. Of an operation with several results there is
// one.
std::vector<mx::array> open_nodes(std::span<const mlx_array> arrays) {
  std::vector<mx::array> ordered;
  NodeIds visited;
  std::vector<std::pair<mx::array, bool>> open;
  for (const mlx_array array : arrays) {
    open.emplace_back(array_of(array), false);
  }
  while (!open.empty()) {
    const auto [node, inputs_visited] = open.back();
    open.pop_back();
    if (inputs_visited) {
      ordered.push_back(node);
    } else if (is_unscheduled(node) && node.has_primitive() && visited.insert(node.id())) {
      for (const mx::array& sibling : node.siblings()) {
        visited.insert(sibling.id());
      }
      open.emplace_back(node, true);
      std::ranges::transform(inputs_of(node), std::back_inserter(open),
                             [](const mx::array& input) { return std::pair(input, false); });
    }
  }
  return ordered;
}

}  // namespace

GraphCopy::GraphCopy(std::span<const mlx_array> arrays) {
  std::unordered_map<std::uintptr_t, std::size_t> places;
  for (const mx::array& node : open_nodes(arrays)) {
    std::vector<mx::array> inputs;
    for (const mx::array& input : inputs_of(node)) {
      const auto copied = places.find(input.id());
      inputs.push_back(copied == places.end() ? value_of(input) : copies_[copied->second]);
    }
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> types;
    for (const mx::array& output : node.outputs()) {
      places.emplace(output.id(), originals_.size());
      originals_.push_back(output);
      shapes.push_back(output.shape());
      types.push_back(output.dtype());
    }
    auto copies = mx::array::make_arrays(std::move(shapes), types, node.primitive_ptr(), inputs);
    std::ranges::move(copies, std::back_inserter(copies_));
  }
}

std::vector<ArrayHandle> GraphCopy::nodes() const {
  std::vector<ArrayHandle> handles;
  std::ranges::transform(copies_, std::back_inserter(handles), handle_of);
  return handles;
}

void GraphCopy::put_values() const {
  for (std::size_t index = 0; index < originals_.size(); ++index) {
    mx::array original = originals_[index];
    original.copy_shared_buffer(copies_[index]);
    original.set_status(mx::array::Status::available);
  }
}

ArrayHandle without_graph(mlx_array array) {
  return handle_of(value_of(array_of(array)));
}

}  // namespace mlx_nif
