// Functions that MLX has compiled.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/recording/program.hpp"

namespace mlx_nif {

class Numbers;

// MLX keeps what it compiled for the thread that did it, and finds it by the shapes of the arguments at each call. Here
// MLX compiles a function once, on a thread of its own; what comes out is a graph over placeholders, and a call makes a
// copy of it over its arguments, on any thread.
class CompiledFunction final : public Instruction {
 public:
  // `shapeless`: compiled once for all shapes. It is run so often as it is before: to make kernels takes as long as
  // thousands of small operations.
  // `former_numbers`: those of the same function compiled for other arguments, the latest first. Numbers that differ
  // need no kernels of their own.
  using NumbersPointer = std::shared_ptr<const Numbers>;
  CompiledFunction(std::shared_ptr<const Program> program, bool shapeless, int calls_before = 0,
                   std::vector<NumbersPointer> former_numbers = {});
  ~CompiledFunction() override;

  InstructionTraits traits() const override;

  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override;

  // The numbers in it, or null before it is compiled.
  NumbersPointer numbers() const;

  // The program: MLX does not transform what it compiled.
  std::shared_ptr<const Instruction> recorded_as() const override;

 private:
  class Graph;

  const Graph& compiled_for(std::span<const mlx_array> inputs) const;

  const std::shared_ptr<const Program> program_;
  const bool shapeless_;
  const int calls_before_;

  mutable std::mutex mutex_;
  // Until it is compiled.
  mutable std::vector<NumbersPointer> former_numbers_;
  // From then on.
  mutable NumbersPointer numbers_;
  mutable std::unique_ptr<const Graph> graph_;
  mutable std::atomic<const Graph*> compiled_{nullptr};
  mutable std::atomic<int> calls_{0};
};

}  // namespace mlx_nif
