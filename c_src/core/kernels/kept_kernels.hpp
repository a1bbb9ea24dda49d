// Kernels of this library for CUDA, compiled once for a machine.
#pragma once

#include <optional>
#include <string>

namespace mlx_nif {

// A kernel as MLX's `precompiled_cuda_kernel` takes it.
struct CompiledKernel {
  std::string name;
  std::string code;
};

// The function `name` of a source, which declares it as `extern "C"`. Nothing where it cannot be compiled.
//
// MLX would compile its own headers with it, which takes more than a second, in each process. And whenever a kernel
// runs it hashes the code, to look for a file of that name first. So the code lies in such a file, and what MLX gets is
// a short text that stands for it; the code itself where the folder for these files cannot be written to.
std::optional<CompiledKernel> kept_kernel(const std::string& name, const std::string& source);

}  // namespace mlx_nif
