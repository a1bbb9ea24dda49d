// Kernels that are written in the language of a GPU.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// What both languages need.
struct KernelSource {
  std::string name;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::string body;
  std::string header;
  // Inputs are copied where they are not row-major.
  bool row_major;
};

// A call of a kernel, but for its inputs.
struct KernelCall {
  using Constant = std::variant<mlx_dtype, int, bool>;
  using Size = std::array<int, 3>;

  std::vector<std::pair<std::vector<int>, mlx_dtype>> outputs;
  Size grid;
  Size thread_group;
  std::vector<std::pair<std::string, Constant>> constants;
  // What the outputs are filled with first.
  std::optional<float> initial;
  // Prints the whole source.
  bool verbose;
};

class Kernel {
 public:
  static Kernel metal(const KernelSource& source, bool atomic_outputs);
  static Kernel cuda(const KernelSource& source, int shared_memory);

  ArrayVectorHandle apply(mlx_vector_array inputs, const KernelCall& call, mlx_stream stream) const;

 private:
  using Metal = Handle<mlx_fast_metal_kernel, mlx_fast_metal_kernel_free>;
  using Cuda = Handle<mlx_fast_cuda_kernel, mlx_fast_cuda_kernel_free>;

  explicit Kernel(std::variant<Metal, Cuda> handle) : handle_(std::move(handle)) {}

  std::variant<Metal, Cuda> handle_;
};

}  // namespace mlx_nif
