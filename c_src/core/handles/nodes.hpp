// The nodes of MLX's graphs, which MLX itself has no way to visit.
#pragma once

#include <mlx/primitives.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include "core/handles/mlx_objects.hpp"
#include "core/handles/node_ids.hpp"

namespace mlx_nif {

inline bool is_unscheduled(const mlx::core::array& node) {
  return node.status() == mlx::core::array::Status::unscheduled;
}

// Whether the node is an operation of MLX of that name, whose operands are still there.
inline bool is_operation(const mlx::core::array& node, std::string_view name) {
  return is_unscheduled(node) && node.has_primitive() && node.primitive().name() == name;
}

// Calls `visit` once with each operation that the results are computed by, down to the arrays in `known`. What `visit`
// puts in the place of an operation's inputs is not visited.
template <typename Visit>
void for_each_node(std::vector<mlx::core::array> results, NodeIds known, const Visit& visit) {
  std::vector<mlx::core::array> open = std::move(results);
  while (!open.empty()) {
    mlx::core::array node = std::move(open.back());
    open.pop_back();
    if (!node.has_primitive() || !known.insert(node.id())) {
      continue;
    }
    for (const mlx::core::array& sibling : node.siblings()) {
      known.insert(sibling.id());
    }
    std::ranges::copy(node.inputs(), std::back_inserter(open));
    visit(node);
  }
}

// Calls `visit` with each array, scheduled already, that the outputs are still to be computed from, or that is one of
// them.
template <typename Visit>
void for_each_scheduled_input(std::vector<mlx::core::array> outputs, const Visit& visit) {
  std::vector<mlx::core::array> open = std::move(outputs);
  NodeIds seen;
  while (!open.empty()) {
    const mlx::core::array node = std::move(open.back());
    open.pop_back();
    if (!is_unscheduled(node)) {
      visit(node);
    } else if (seen.insert(node.id())) {
      std::ranges::copy(node.inputs(), std::back_inserter(open));
    }
  }
}

}  // namespace mlx_nif
