// Arrays without elements, which need no computation, and of which many of MLX's divide by the size.
#pragma once

#include "core/handles/handle.hpp"

namespace mlx_nif {

// A dimension is 0. (MLX's own size of an array can overflow to 0.)
bool has_no_elements(mlx_array array);

// One of the same shape and type that is not computed.
ArrayHandle without_elements(mlx_array array);

}  // namespace mlx_nif
