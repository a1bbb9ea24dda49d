// Functions that MLX has compiled.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/program.hpp"

namespace mlx_nif {

// MLX keeps what it compiled for a thread, so that all of it happens on one: compiling, calling and erasing.
void on_compilation_thread(std::function<void()> work);

class CompiledFunction {
 public:
  // `shapeless`: compiled once for all shapes.
  CompiledFunction(std::shared_ptr<const Program> program, bool shapeless);
  ~CompiledFunction();
  CompiledFunction(const CompiledFunction&) = delete;
  CompiledFunction& operator=(const CompiledFunction&) = delete;

  const std::shared_ptr<const Program>& program() const { return program_; }

  // On the compilation thread, under the locks of the graphs.
  std::vector<ArrayHandle> call(std::span<const mlx_array> inputs);

  // The evaluation of a first result compiles kernels, which takes long.
  bool may_compile_kernels() const { return calls_.load(std::memory_order_relaxed) <= calls_that_may_compile; }

 private:
  static constexpr int calls_that_may_compile = 16;

  const std::shared_ptr<const Program> program_;
  const bool shapeless_;
  const std::uintptr_t number_;
  ClosureHandle closure_;
  std::atomic<int> calls_{0};
};

}  // namespace mlx_nif
