// Runs a program step by step.
#include "core/recording/program.hpp"

#include <algorithm>

#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/small_vector.hpp"

namespace mlx_nif {
namespace {

void keep_needed_steps(Program::Parts& parts) {
  std::vector<bool> needed(parts.register_count, false);
  for (const Register output : parts.outputs) {
    needed[output] = true;
  }
  std::vector<Program::Step> kept;
  for (auto step = parts.steps.rbegin(); step != parts.steps.rend(); ++step) {
    const auto first = needed.begin() + step->first_result;
    const auto last = first + static_cast<std::ptrdiff_t>(step->result_count);
    if (std::find(first, last, true) == last && !step->instruction->has_effects()) {
      continue;
    }
    for (const Register input : step->inputs) {
      if (input != no_register) {
        needed[input] = true;
      }
    }
    kept.push_back(std::move(*step));
  }
  std::ranges::reverse(kept);
  parts.steps = std::move(kept);
}

}  // namespace

Program::Program(Parts parts) : parts_(std::move(parts)) {
  for (const Step& step : parts_.steps) {
    traits_ += step.instruction->traits();
  }
  keep_needed_steps(parts_);
}

std::vector<ArrayHandle> Program::run(std::span<const mlx_array> inputs) const {
  return run_steps(inputs, &Instruction::run);
}

std::vector<ArrayHandle> Program::infer(std::span<const mlx_array> inputs) const {
  return run_steps(inputs, &Instruction::infer);
}

std::vector<ArrayHandle> Program::run_steps(std::span<const mlx_array> inputs, RunStep run_step) const {
  if (inputs.size() != parts_.inputs.size()) {
    throw Error("a recorded function got another number of arrays than it was recorded with");
  }
  std::vector<mlx_array> registers(parts_.register_count);
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    registers[parts_.inputs[index]] = inputs[index];
  }
  for (const auto& [target, constant] : parts_.constants) {
    registers[target] = constant.get();
  }
  std::vector<ArrayHandle> results;
  results.reserve(parts_.register_count);
  for (const Step& step : parts_.steps) {
    SmallVector<mlx_array, 8> arguments;
    for (const Register input : step.inputs) {
      arguments.push_back(input == no_register ? mlx_array{} : registers[input]);
    }
    const std::size_t first = results.size();
    (*step.instruction.*run_step)(arguments.all(), results);
    if (results.size() != first + step.result_count) {
      throw Error("an operation has another number of results than when it was recorded");
    }
    for (std::size_t index = 0; index < step.result_count; ++index) {
      registers[step.first_result + index] = results[first + index].get();
    }
  }
  std::vector<ArrayHandle> outputs(parts_.outputs.size());
  std::ranges::transform(parts_.outputs, outputs.begin(), [&](Register output) { return share(registers[output]); });
  return outputs;
}

}  // namespace mlx_nif
