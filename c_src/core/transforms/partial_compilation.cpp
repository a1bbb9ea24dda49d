// Splits a program at the steps that depend on values, and compiles what is between them.
#include "core/transforms/partial_compilation.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>
#include <vector>

#include "core/handles/array_lists.hpp"
#include "core/transforms/compilation.hpp"
#include "core/transforms/transforms.hpp"

namespace mlx_nif {
namespace {

// There is nothing to fuse in fewer.
constexpr std::size_t fewest_steps = 2;

std::vector<Program::Constant> copies_of(const std::vector<Program::Constant>& constants) {
  std::vector<Program::Constant> copies;
  for (const auto& [target, constant] : constants) {
    copies.emplace_back(target, share(constant.get()));
  }
  return copies;
}

// For each register, the last step that uses it; the number of steps, if it is an output.
std::vector<std::size_t> last_uses_in(const Program::Parts& parts) {
  std::vector<std::size_t> last_uses(parts.register_count, 0);
  const auto note_use = [&](Register used, std::size_t step) {
    if (used != no_register) {
      last_uses[used] = step;
    }
  };
  for (std::size_t index = 0; index < parts.steps.size(); ++index) {
    for (const Register input : parts.steps[index].inputs) {
      note_use(input, index);
    }
  }
  for (const Register output : parts.outputs) {
    note_use(output, parts.steps.size());
  }
  return last_uses;
}

// Makes a program of another in which each sequence of steps that do not depend on values is one step.
class Joining {
 public:
  Joining(const Program::Parts& parts, int calls_before)
      : parts_(parts), calls_before_(calls_before), last_uses_(last_uses_in(parts)), renamed_(parts.register_count) {
    std::iota(renamed_.begin(), renamed_.end(), Register{0});
    joined_.name = parts_.name;
    joined_.inputs = parts_.inputs;
    joined_.register_count = parts_.register_count;
    joined_.constants = copies_of(parts_.constants);
  }

  std::shared_ptr<const Program> run() && {
    const auto is_dynamic = [](const Program::Step& step) { return step.instruction->traits().dynamic; };
    const auto begin = parts_.steps.begin();
    const auto end = parts_.steps.end();
    for (auto first = begin; first != end;) {
      const auto last = std::find_if(first, end, is_dynamic);
      if (static_cast<std::size_t>(last - first) < fewest_steps) {
        std::for_each(first, last, [this](const Program::Step& step) { add_step(step); });
      } else {
        add_joined(static_cast<std::size_t>(first - begin), static_cast<std::size_t>(last - begin));
      }
      first = last;
      if (first != end) {
        add_step(*first++);
      }
    }
    joined_.outputs = rename(parts_.outputs);
    return std::make_shared<const Program>(std::move(joined_));
  }

 private:
  void add_step(const Program::Step& step) {
    joined_.steps.push_back({step.instruction, rename(step.inputs), step.first_result, step.result_count});
  }

  // The steps from `begin` to `end` as one, whose results have registers beside each other.
  void add_joined(std::size_t begin, std::size_t end) {
    Program::Parts sequence = sequence_of(begin, end);
    const auto first_result = static_cast<Register>(joined_.register_count);
    Program::Step step{.instruction = nullptr,
                       .inputs = rename(sequence.inputs),
                       .first_result = first_result,
                       .result_count = sequence.outputs.size()};
    for (std::size_t index = 0; index < sequence.outputs.size(); ++index) {
      renamed_[sequence.outputs[index]] = first_result + static_cast<Register>(index);
    }
    joined_.register_count += sequence.outputs.size();
    step.instruction = std::make_shared<const CompiledFunction>(std::make_shared<const Program>(std::move(sequence)),
                                                                false, calls_before_);
    joined_.steps.push_back(std::move(step));
  }

  // Its inputs are what its steps take from before, and its outputs what is used after them.
  Program::Parts sequence_of(std::size_t begin, std::size_t end) const {
    Program::Parts sequence;
    sequence.name = parts_.name;
    sequence.register_count = parts_.register_count;
    sequence.constants = copies_of(parts_.constants);
    std::vector<bool> inside(parts_.register_count, false);
    for (const Program::Constant& constant : sequence.constants) {
      inside[constant.first] = true;
    }
    for (std::size_t index = begin; index < end; ++index) {
      const Program::Step& step = parts_.steps[index];
      for (const Register input : step.inputs) {
        if (input != no_register && !inside[input]) {
          inside[input] = true;
          sequence.inputs.push_back(input);
        }
      }
      for (std::size_t result = 0; result < step.result_count; ++result) {
        const Register target = step.first_result + static_cast<Register>(result);
        inside[target] = true;
        if (last_uses_[target] >= end) {
          sequence.outputs.push_back(target);
        }
      }
      sequence.steps.push_back(step);
    }
    return sequence;
  }

  std::vector<Register> rename(const std::vector<Register>& registers) const {
    std::vector<Register> names(registers.size());
    std::ranges::transform(registers, names.begin(),
                           [this](Register name) { return name == no_register ? no_register : renamed_[name]; });
    return names;
  }

  const Program::Parts& parts_;
  const int calls_before_;
  const std::vector<std::size_t> last_uses_;
  std::vector<Register> renamed_;
  Program::Parts joined_;
};

class PartlyCompiled final : public Instruction {
 public:
  PartlyCompiled(std::shared_ptr<const Program> program, int calls_before)
      : program_(std::move(program)), joined_(Joining(program_->parts(), calls_before).run()) {}

  InstructionTraits traits() const override { return program_->traits(); }

  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    std::ranges::move(joined_->run(inputs), std::back_inserter(results));
  }

  void infer(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    std::ranges::move(program_->infer(inputs), std::back_inserter(results));
  }

  std::shared_ptr<const Instruction> recorded_as() const override { return transforms::call(program_); }

 private:
  const std::shared_ptr<const Program> program_;
  const std::shared_ptr<const Program> joined_;
};

}  // namespace

std::shared_ptr<const Instruction> compile_where_possible(std::shared_ptr<const Program> program, int calls_before) {
  if (program->traits().dynamic) {
    return std::make_shared<const PartlyCompiled>(std::move(program), calls_before);
  }
  return std::make_shared<const CompiledFunction>(std::move(program), false, calls_before);
}

}  // namespace mlx_nif
