// Splits a program at the steps that depend on values, and compiles what is between them.
#include "core/transforms/stages.hpp"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "core/handles/array_lists.hpp"
#include "core/transforms/compilation.hpp"
#include "core/transforms/transforms.hpp"

namespace mlx_nif {
namespace {

// There is nothing to fuse in fewer.
constexpr std::size_t fewest_steps = 2;

// Makes a program of another in which each sequence of steps that do not depend on values is one step.
class Staging {
 public:
  Staging(const Program::Parts& parts, int calls_before)
      : parts_(parts),
        calls_before_(calls_before),
        last_uses_(parts.register_count, 0),
        renamed_(parts.register_count) {
    for (std::size_t index = 0; index < parts_.steps.size(); ++index) {
      for (const Register input : parts_.steps[index].inputs) {
        note_use(input, index);
      }
    }
    for (const Register output : parts_.outputs) {
      note_use(output, parts_.steps.size());
    }
    for (std::size_t index = 0; index < renamed_.size(); ++index) {
      renamed_[index] = static_cast<Register>(index);
    }
    staged_.name = parts_.name;
    staged_.inputs = parts_.inputs;
    staged_.register_count = parts_.register_count;
    for (const auto& [target, constant] : parts_.constants) {
      staged_.constants.emplace_back(target, share(constant.get()));
    }
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
        add_stage(static_cast<std::size_t>(first - begin), static_cast<std::size_t>(last - begin));
      }
      first = last;
      if (first != end) {
        add_step(*first++);
      }
    }
    staged_.outputs = rename(parts_.outputs);
    return std::make_shared<const Program>(std::move(staged_));
  }

 private:
  void note_use(Register used, std::size_t step) {
    if (used != no_register) {
      last_uses_[used] = step;
    }
  }

  void add_step(const Program::Step& step) {
    staged_.steps.push_back({step.instruction, rename(step.inputs), step.first_result, step.result_count});
  }

  void add_stage(std::size_t begin, std::size_t end) {
    Program::Parts stage;
    stage.name = parts_.name;
    stage.register_count = parts_.register_count;
    std::vector<bool> inside(parts_.register_count, false);
    for (const auto& [target, constant] : parts_.constants) {
      inside[target] = true;
      stage.constants.emplace_back(target, share(constant.get()));
    }
    for (std::size_t index = begin; index < end; ++index) {
      const Program::Step& step = parts_.steps[index];
      for (const Register input : step.inputs) {
        if (input != no_register && !inside[input]) {
          inside[input] = true;
          stage.inputs.push_back(input);
        }
      }
      for (std::size_t result = 0; result < step.result_count; ++result) {
        const Register target = step.first_result + static_cast<Register>(result);
        inside[target] = true;
        if (last_uses_[target] >= end) {
          stage.outputs.push_back(target);
        }
      }
      stage.steps.push_back(step);
    }
    const auto first_result = static_cast<Register>(staged_.register_count);
    Program::Step step{.instruction = nullptr,
                       .inputs = rename(stage.inputs),
                       .first_result = first_result,
                       .result_count = stage.outputs.size()};
    for (std::size_t index = 0; index < stage.outputs.size(); ++index) {
      renamed_[stage.outputs[index]] = first_result + static_cast<Register>(index);
    }
    staged_.register_count += stage.outputs.size();
    step.instruction = std::make_shared<const CompiledFunction>(std::make_shared<const Program>(std::move(stage)),
                                                                false, calls_before_);
    staged_.steps.push_back(std::move(step));
  }

  std::vector<Register> rename(const std::vector<Register>& registers) const {
    std::vector<Register> names(registers.size());
    std::ranges::transform(registers, names.begin(),
                           [this](Register name) { return name == no_register ? no_register : renamed_[name]; });
    return names;
  }

  const Program::Parts& parts_;
  const int calls_before_;
  // For each register, the last step that uses it; the number of steps, if it is an output.
  std::vector<std::size_t> last_uses_;
  std::vector<Register> renamed_;
  Program::Parts staged_;
};

class StagedProgram final : public Instruction {
 public:
  StagedProgram(std::shared_ptr<const Program> program, int calls_before)
      : program_(std::move(program)), staged_(Staging(program_->parts(), calls_before).run()) {}

  InstructionTraits traits() const override { return program_->traits(); }

  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    std::ranges::move(staged_->run(inputs), std::back_inserter(results));
  }

  void infer(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    std::ranges::move(program_->infer(inputs), std::back_inserter(results));
  }

  std::shared_ptr<const Instruction> recorded_as() const override { return transforms::call(program_); }

 private:
  const std::shared_ptr<const Program> program_;
  const std::shared_ptr<const Program> staged_;
};

}  // namespace

std::shared_ptr<const Instruction> prepare(std::shared_ptr<const Program> program, int calls_before) {
  if (program->traits().dynamic) {
    return std::make_shared<const StagedProgram>(std::move(program), calls_before);
  }
  return std::make_shared<const CompiledFunction>(std::move(program), false, calls_before);
}

}  // namespace mlx_nif
