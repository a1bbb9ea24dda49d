// Matrices whose elements are packed into words, as MLX quantizes them.
#pragma once

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

// A matrix {outputs, columns} whose elements are packed into words: each is the scale of its group times a number of so
// many bits, plus the bias of the group.
struct PackedMatrix {
  const mlx::core::array& words;
  const mlx::core::array& scales;
  const mlx::core::array& biases;
  int group_size;
  int bits;
};

}  // namespace mlx_nif
