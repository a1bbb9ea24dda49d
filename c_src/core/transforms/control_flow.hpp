// Instructions that depend on values: loops, branches, and calls of functions that are not recorded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/array/array_kind.hpp"
#include "core/recording/program.hpp"

namespace mlx_nif {

// Who runs a program with such instructions.
class Host {
 public:
  virtual ~Host() = default;

  // The results of a function that is known by a number, for arrays that have values.
  virtual std::vector<ArrayHandle> call(std::uint64_t function, std::vector<ArrayHandle> arrays) = 0;

  // Throws Error when nobody waits for the results any more.
  virtual void check_wanted() const = 0;

  // Runs the instruction on this thread. The inputs have values, and so have the results.
  std::vector<ArrayHandle> run(const Instruction& instruction, std::span<const mlx_array> inputs);

  // The computation of what it runs can fail after it was scheduled.
  bool fallible() const { return fallible_; }

  // The host whose thread this is. Throws Error when it is none.
  static Host& current();

  // The arrays with their values, and without their graphs. MLX keeps the graphs of those that it differentiates.
  std::vector<ArrayHandle> values_of(std::span<const mlx_array> arrays) const;

  // Runs what evaluates arrays where MLX allows it: not on a thread on which it differentiates.
  static void evaluating(const std::function<void()>& work);

 private:
  bool fallible_ = false;
};

namespace control_flow {

using ProgramPointer = std::shared_ptr<const Program>;
using InstructionPointer = std::shared_ptr<const Instruction>;

// Over the initial state, what the condition captured and what the body captured: the state when the condition, a
// program with one boolean output, is false.
InstructionPointer loop(ProgramPointer condition, ProgramPointer body, std::size_t state_count);

// Over a boolean, what the first program captured and what the second captured: the outputs of the first if it is true,
// or else of the second. Both may be computed where their arrays are small.
InstructionPointer branch(ProgramPointer if_true, ProgramPointer if_false, bool small);

// Over any arrays: what the host's function gives for them.
InstructionPointer host_call(std::uint64_t function, std::vector<ArrayKind> results);

}  // namespace control_flow
}  // namespace mlx_nif
