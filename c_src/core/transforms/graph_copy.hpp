// Values in the middle of a derivative.
#pragma once

#include <mlx/mlx.h>

#include <span>
#include <vector>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// MLX throws the graph of an array away when it computes it, and the derivative with it. So a copy of the graph is
// computed, and its values are put into the nodes of the original.
class GraphCopy {
 public:
  // Of all that the arrays need and that has no value yet. Nobody else uses their graphs meanwhile.
  explicit GraphCopy(std::span<const mlx_array> arrays);

  // The copies, to be evaluated.
  std::vector<ArrayHandle> nodes() const;

  // When they are evaluated.
  void put_values() const;

 private:
  std::vector<mlx::core::array> originals_;
  std::vector<mlx::core::array> copies_;
};

// The value of an array that has one.
ArrayHandle without_graph(mlx_array array);

}  // namespace mlx_nif
