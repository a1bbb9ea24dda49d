// In which order the outputs of a graph are given to MLX.
#pragma once

#include <span>
#include <vector>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

// The order that takes the least memory, where there are so many outputs that it decides. Looks at nodes.
std::vector<mlx_array> in_order_of_need(std::span<const mlx_array> outputs);

}  // namespace mlx_nif
