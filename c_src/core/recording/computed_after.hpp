// An order of computation.
#pragma once

#include "core/recording/ruled_operation.hpp"

namespace mlx_nif {

// The arrays, of which there is one at least, computed after the others. As MLX's `depends`, which has no map and no
// derivative in forward mode, and whose derivative has zeros on the default stream for the others.
MlxArrays computed_after(MlxArrays arrays, MlxArrays others);

}  // namespace mlx_nif
