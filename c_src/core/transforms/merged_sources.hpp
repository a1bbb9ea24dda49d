// Numbers and operations without inputs that a graph has more than once.
#pragma once

#include "core/transforms/graph_sources.hpp"

namespace mlx_nif {

// MLX computes once what a compiled function computes twice of the same inputs. It looks for that among what is
// computed of an array, and so misses what takes none: ranges of numbers. Of those that are equal, this has all but one
// replaced, after which MLX finds what is computed of them. MLX finds equal numbers, and what repeats them, in a longer
// time.
void merge_sources(const GraphSources& sources);

}  // namespace mlx_nif
