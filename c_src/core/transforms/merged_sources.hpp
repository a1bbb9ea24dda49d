// Operations without inputs that a graph has more than once.
#pragma once

#include <mlx/mlx.h>

#include <vector>

namespace mlx_nif {

// MLX computes once what a compiled function computes twice of the same inputs. It looks for that among what is
// computed of an array, and so misses what takes none: ranges of numbers. Of those that are equal, this has all but one
// replaced, after which MLX finds what is computed of them.
void merge_sources(const std::vector<mlx::core::array>& outputs);

}  // namespace mlx_nif
