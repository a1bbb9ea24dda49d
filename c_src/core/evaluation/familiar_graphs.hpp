// The graphs of a GPU whose kernels are there, as MLX has scheduled graphs of the same structure before.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_set>

namespace mlx_nif {

// What the kernels of a graph follow from: its operations, and the types, shapes and layouts of their arrays.
using GraphStructure = std::uint64_t;

// That of the graph that the outputs are computed by. None when it has more nodes, or an operation whose kernels follow
// from more than that. Under the locks of the graphs.
std::optional<GraphStructure> structure_of(std::span<const mlx_array> outputs, std::size_t most_nodes);

// MLX makes the kernels of a GPU when it schedules their first use: that takes from milliseconds to many seconds, and
// more stack than a scheduler has. To schedule a familiar graph takes microseconds.
class FamiliarGraphs {
 public:
  static FamiliarGraphs& instance();

  bool contains(GraphStructure structure);
  void add(GraphStructure structure);

 private:
  std::mutex mutex_;
  std::unordered_set<GraphStructure> structures_;
};

}  // namespace mlx_nif
