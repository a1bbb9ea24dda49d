// CUDA's compiler for kernels, which MLX has loaded.
#pragma once

#include <optional>
#include <string>

namespace mlx_nif {

// The code of a kernel for a GPU of such an architecture, as "sm_90". Nothing where there is no compiler, or none that
// takes the source.
std::optional<std::string> compile_for_cuda(const std::string& source, const std::string& architecture);

}  // namespace mlx_nif
