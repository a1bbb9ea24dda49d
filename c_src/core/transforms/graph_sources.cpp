// Walks over a graph once, and notes the inputs of its operations that are sources.
#include "core/transforms/graph_sources.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string_view>

#include "core/handles/nodes.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

bool is_number(const mx::array& array) {
  return array.ndim() == 0 && !array.has_primitive() && !array.is_tracer() && array.is_available();
}

std::uint64_t bits_of(const mx::array& number) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, number.data<std::byte>(), number.nbytes());
  return bits;
}

bool is_made_by(const mx::array& array, std::string_view operation) {
  return operation == array.primitive().name();
}

}  // namespace

GraphSources::GraphSources(std::vector<mx::array>& outputs) {
  std::vector<mx::array*> open;
  std::transform(outputs.rbegin(), outputs.rend(), std::back_inserter(open), [](mx::array& output) { return &output; });
  NodeIds seen;
  while (!open.empty()) {
    mx::array& array = *open.back();
    open.pop_back();
    if (!array.has_primitive() || !seen.insert(array.id())) {
      continue;
    }
    take_inputs(array);
    // Each result of an operation has a list of its inputs.
    for (mx::array& sibling : array.siblings()) {
      seen.insert(sibling.id());
      take_inputs(sibling);
    }
    for (mx::array& input : array.inputs()) {
      if (input.has_primitive()) {
        open.push_back(&input);
      }
    }
  }
}

void GraphSources::take_inputs(mx::array& result) {
  for (mx::array& input : result.inputs()) {
    const Use use{.operation = &result.primitive(), .input = &input};
    if (is_number(input)) {
      numbers_.push_back({use, bits_of(input)});
    } else if (!input.has_primitive()) {
      continue;
    } else if (input.inputs().empty()) {
      if (is_made_by(input, "Arange")) {
        ranges_.push_back(use);
      }
    } else if (input.inputs().size() == 1 && is_number(input.inputs()[0]) && is_made_by(input, "Broadcast")) {
      repeated_numbers_.push_back(use);
    }
  }
}

}  // namespace mlx_nif
