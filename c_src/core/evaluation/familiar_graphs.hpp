// The graphs of a GPU whose kernels are there, as MLX has scheduled graphs of the same structure before.
#pragma once

#include <mlx/c/mlx.h>
#include <mlx/primitives.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace mlx_nif {

// What the kernels of a graph follow from.
struct GraphStructure {
  // Of its operations, and of the types, shapes and layouts of their arrays.
  std::uint64_t hash = 0;
  // The operations that are told from others by their addresses.
  std::vector<std::shared_ptr<mlx::core::Primitive>> recorded;
};

// That of the graph that the outputs are computed by. None when it has more nodes, or an operation whose kernels follow
// from more than that. Under the locks of the graphs.
std::optional<GraphStructure> structure_of(std::span<const mlx_array> outputs, std::size_t most_nodes);

// MLX makes the kernels of a GPU when it schedules their first use: that takes from milliseconds to many seconds, and
// more stack than a scheduler has. To schedule a familiar graph takes microseconds.
class FamiliarGraphs {
 public:
  static FamiliarGraphs& instance();

  bool contains(const GraphStructure& structure);
  void add(GraphStructure structure);

 private:
  std::mutex mutex_;
  // The recorded operations by the hash of their graph. While they are kept, no other has the address of one of them.
  std::unordered_map<std::uint64_t, std::vector<std::shared_ptr<mlx::core::Primitive>>> structures_;
};

}  // namespace mlx_nif
