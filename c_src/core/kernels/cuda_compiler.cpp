// Calls NVRTC.
#include "core/kernels/cuda_compiler.hpp"

#include <cstddef>
#include <format>
#include <utility>

#include "core/streams/cuda_library.hpp"
#include "core/threads/deep_thread.hpp"

namespace mlx_nif {
namespace {

// The compiler recurses over its input, as MLX's transforms do over the nodes of a graph, and is given as much room as
// for so many.
constexpr std::size_t nodes_of_like_depth = 4000;

class Compiler {
 public:
  static const Compiler& instance() {
    static const Compiler compiler;
    return compiler;
  }

  std::optional<std::string> compile(const std::string& source, const std::string& architecture) const {
    if (!complete_) {
      return std::nullopt;
    }
    Program program = nullptr;
    if (create_(&program, source.c_str(), "kernel.cu", 0, nullptr, nullptr) != success) {
      return std::nullopt;
    }
    auto code = compiled(program, std::format("--gpu-architecture={}", architecture));
    destroy_(&program);
    return code;
  }

 private:
  using Program = void*;
  using Create = int(Program*, const char* source, const char* name, int headers, const char* const*,
                     const char* const*);
  using Compile = int(Program, int options, const char* const*);
  using CodeSize = int(Program, std::size_t*);
  using Code = int(Program, char*);
  using Destroy = int(Program*);

  static constexpr int success = 0;

  Compiler() {
    const CudaLibrary library("libnvrtc.so.13");
    complete_ = library.find(create_, "nvrtcCreateProgram") && library.find(compile_, "nvrtcCompileProgram") &&
                library.find(code_size_, "nvrtcGetCUBINSize") && library.find(code_, "nvrtcGetCUBIN") &&
                library.find(destroy_, "nvrtcDestroyProgram");
  }

  std::optional<std::string> compiled(Program program, const std::string& option) const {
    const char* const options = option.c_str();
    std::size_t size = 0;
    if (compile_(program, 1, &options) != success || code_size_(program, &size) != success) {
      return std::nullopt;
    }
    std::string code(size, '\0');
    return code_(program, code.data()) == success ? std::optional(std::move(code)) : std::nullopt;
  }

  Create* create_ = nullptr;
  Compile* compile_ = nullptr;
  CodeSize* code_size_ = nullptr;
  Code* code_ = nullptr;
  Destroy* destroy_ = nullptr;
  bool complete_ = false;
};

}  // namespace

std::optional<std::string> compile_for_cuda(const std::string& source, const std::string& architecture) {
  std::optional<std::string> code;
  on_deep_thread(nodes_of_like_depth, [&] { code = Compiler::instance().compile(source, architecture); });
  return code;
}

}  // namespace mlx_nif
