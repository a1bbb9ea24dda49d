// A function of arrays that was recorded, as something that MLX can call.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/array/trace.hpp"
#include "core/handles/handle.hpp"

namespace mlx_nif {

// What is known of an instruction besides its results.
struct InstructionTraits {
  // The most bytes that one of its results, or what it computes on the way, has.
  std::uint64_t largest_result = 0;
  // Its computation can fail after it was scheduled.
  bool fallible = false;
  // Some of its results, or what they are computed from, are computed on the stream of a CPU.
  bool uses_cpu = false;
  // About how many nodes it adds to a graph.
  std::size_t nodes = 1;
  // How many nodes MLX recurses over to run it.
  std::size_t depth = 0;
  // What it does depends on values: it evaluates arrays while it runs, see core/transforms/control_flow.hpp.
  bool dynamic = false;
  // What its derivative does depends on values.
  bool dynamic_derivative = false;
  // MLX cannot differentiate it: it is dynamic, and has compiled what it runs.
  bool opaque = false;

  InstructionTraits& operator+=(const InstructionTraits& other) {
    largest_result = std::max(largest_result, other.largest_result);
    fallible |= other.fallible;
    uses_cpu |= other.uses_cpu;
    nodes += other.nodes;
    depth = std::max(depth, other.depth);
    dynamic |= other.dynamic;
    dynamic_derivative |= other.dynamic_derivative;
    opaque |= other.opaque;
    return *this;
  }
};

// An operation, apart from the arrays that it is applied to. Any number of threads may run one at the same time.
class Instruction {
 public:
  virtual ~Instruction() = default;

  virtual InstructionTraits traits() const = 0;

  // Appends the results. A null array stands for an argument that is left out.
  virtual void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const = 0;

  // Appends arrays of the shapes and types that the results have; for inputs that have no values.
  virtual void infer(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const {
    run(inputs, results);
  }

  // It does more than giving results.
  virtual bool has_effects() const { return false; }

  // What a tape takes in place of it, where that is something else.
  virtual std::shared_ptr<const Instruction> recorded_as() const { return nullptr; }
};

// A sequence of operations over registers. It is a pure function: what the recorded function captured is among its
// inputs.
class Program {
 public:
  struct Step {
    std::shared_ptr<const Instruction> instruction;
    std::vector<Register> inputs;
    Register first_result;
    std::size_t result_count;
  };

  // A number in the function's text. Has a value, so that it needs no lock.
  using Constant = std::pair<Register, ArrayHandle>;

  struct Parts {
    // The public name of the transform that the function was recorded for.
    std::string name;
    std::vector<Register> inputs;
    std::vector<Constant> constants;
    std::vector<Step> steps;
    std::vector<Register> outputs;
    std::size_t register_count = 0;
  };

  // Drops the steps that no output needs and that have no effects.
  explicit Program(Parts parts);

  const std::string& name() const { return parts_.name; }
  std::size_t input_count() const { return parts_.inputs.size(); }
  std::size_t output_count() const { return parts_.outputs.size(); }
  const InstructionTraits& traits() const { return traits_; }
  const Parts& parts() const { return parts_; }

  std::vector<ArrayHandle> run(std::span<const mlx_array> inputs) const;

  // Arrays with the shapes and types of the outputs.
  std::vector<ArrayHandle> infer(std::span<const mlx_array> inputs) const;

 private:
  using RunStep = void (Instruction::*)(std::span<const mlx_array>, std::vector<ArrayHandle>&) const;
  std::vector<ArrayHandle> run_steps(std::span<const mlx_array> inputs, RunStep run_step) const;

  Parts parts_;
  // Of all of its steps together.
  InstructionTraits traits_{.nodes = 0};
};

}  // namespace mlx_nif
