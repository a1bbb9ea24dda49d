// Casts of complex numbers in the kernels that MLX makes of several operations.
#pragma once

#include <vector>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

// CUDA's compiler refuses a kernel in which MLX casts a complex number to a real one, as `abs` does. Such a cast takes
// the real part first, and one to booleans compares with 0; other kernels do so in the cast itself.
void cast_real_parts(const std::vector<mlx::core::array>& results);

}  // namespace mlx_nif
