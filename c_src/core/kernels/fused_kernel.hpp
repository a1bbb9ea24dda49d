// Kernels of fused operations, which MLX makes for a CPU with the C++ compiler of the machine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace mlx::core {
class Primitive;
}

namespace mlx_nif {

// MLX looks once whether there is a compiler, and makes each kernel in a folder when it is needed first. Where that
// fails later, as on a full disk, it throws at each evaluation.

// What to compute in place of a primitive: the same; but fused operations whose kernel cannot be made are computed one
// after another.
std::shared_ptr<mlx::core::Primitive> with_fallback(std::shared_ptr<mlx::core::Primitive> primitive);

// Why the last kernel that could not be made was not. Empty when there was none.
std::string last_kernel_failure();

// Where MLX of this version keeps the sources and the libraries of kernels. Empty when the folder for temporary files
// is missing.
std::filesystem::path kernel_folder_path();

}  // namespace mlx_nif
