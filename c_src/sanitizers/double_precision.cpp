// Transforms programs on f64 while the thread's default stream is another, and looks for nodes on that one.
#include "sanitizers/double_precision.hpp"

#include <mlx/primitives.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <format>
#include <iterator>
#include <memory>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/evaluation/scheduling.hpp"
#include "core/guards/derivative_guards.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/transforms/transforms.hpp"
#include "sanitizers/crowd.hpp"

namespace mlx_nif::stress {
namespace {

namespace mx = mlx::core;

using transforms::InstructionPointer;
using transforms::ProgramPointer;

template <auto function>
class OnDoubles final : public Instruction {
 public:
  InstructionTraits traits() const override { return {}; }
  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    results.push_back(apply(function, inputs[0], inputs[1], Streams::instance().default_stream(MLX_FLOAT64)));
  }
};

ProgramPointer program_of(std::vector<Register> inputs, std::vector<Program::Step> steps, std::vector<Register> outputs,
                          std::size_t register_count) {
  Program::Parts parts;
  parts.name = "stress";
  parts.inputs = std::move(inputs);
  parts.steps = std::move(steps);
  parts.outputs = std::move(outputs);
  parts.register_count = register_count;
  return std::make_shared<const Program>(std::move(parts));
}

// The angle of two arguments times the first one, and the second one itself.
ProgramPointer angle() {
  return program_of({0, 1},
                    {{std::make_shared<const OnDoubles<guarded::arctan2>>(), {0, 1}, 2, 1},
                     {std::make_shared<const OnDoubles<mlx_multiply>>(), {2, 0}, 3, 1}},
                    {3, 1}, 4);
}

// Gives the cotangents themselves.
ProgramPointer rule() {
  return program_of({0, 1, 2, 3, 4, 5}, {}, {2, 3}, 6);
}

// The instruction as a function of so many arguments.
ProgramPointer function_of(InstructionPointer instruction, Register count, std::vector<Register> outputs) {
  std::vector<Register> inputs;
  for (Register input = 0; input < count; ++input) {
    inputs.push_back(input);
  }
  return program_of(inputs, {{std::move(instruction), inputs, count, outputs.size()}}, outputs, count + outputs.size());
}

void expect_no_node_on(const mx::Stream& stream, const std::vector<ArrayHandle>& results, std::string_view what) {
  std::vector<mx::array> open = arrays_of(borrow(results));
  std::unordered_set<std::uintptr_t> seen;
  while (!open.empty()) {
    const mx::array node = std::move(open.back());
    open.pop_back();
    if (!node.has_primitive() || !seen.insert(node.id()).second) {
      continue;
    }
    if (node.primitive().stream() == stream) {
      fail(std::format("{}: {} is on the default stream", what, node.primitive().name()));
    }
    open.insert(open.end(), node.inputs().begin(), node.inputs().end());
  }
}

// An array that no operation has made.
ArrayHandle doubles(const mx::Shape& shape) {
  const std::vector<double> elements(6, 0.5);
  return handle_of(mx::array(elements.begin(), shape, mx::float64));
}

struct Case {
  std::string_view what;
  InstructionPointer instruction;
  std::vector<mx::Shape> arguments;
};

std::vector<Case> cases() {
  const ProgramPointer program = angle();
  const ProgramPointer again = function_of(transforms::checkpoint(program), 2, {2, 3});
  const ProgramPointer gradient = function_of(transforms::vjp(again, 2), 4, {4, 5, 6, 7});
  const ProgramPointer custom = function_of(transforms::custom_function(program, rule(), nullptr, nullptr), 2, {2, 3});
  const auto numbers = [](std::size_t count) { return std::vector<mx::Shape>(count); };
  return {
      {"vjp", transforms::vjp(program, 2), numbers(4)},
      {"jvp", transforms::jvp(program, 2), numbers(4)},
      {"jvp of the first argument", transforms::jvp(program, 1), numbers(3)},
      {"value_and_grad", transforms::value_and_grad(program, {0, 1}), numbers(2)},
      {"checkpoint", transforms::vjp(again, 2), numbers(4)},
      {"the derivative of a checkpoint's", transforms::vjp(gradient, 4), numbers(8)},
      {"custom function", transforms::vjp(custom, 2), numbers(4)},
      {"vmap", transforms::vmap(program, {0, -1}, {1, 1}), {{3, 2}, {2}}},
  };
}

}  // namespace

void doubles_beside_a_gpu() {
  std::jthread([] {
    Streams::instance().adopt_thread();
    StreamHandle gpu;
    between_schedules([&] { gpu = Streams::instance().borrow(MLX_CPU); });
    mx::set_default_stream(stream_of(gpu.get()));
    for (const auto& [what, instruction, shapes] : cases()) {
      std::vector<ArrayHandle> arguments;
      std::ranges::transform(shapes, std::back_inserter(arguments), doubles);
      std::vector<ArrayHandle> results;
      try {
        instruction->run(borrow(arguments), results);
        expect_no_node_on(stream_of(gpu.get()), results, what);
      } catch (const std::exception& error) {
        fail(std::format("{}: {}", what, error.what()));
      }
    }
    Streams::instance().give_back(std::move(gpu), MLX_CPU);
  }).join();
}

}  // namespace mlx_nif::stress
