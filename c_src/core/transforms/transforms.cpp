// Gives a program to MLX's transforms as a function, together with what it captured.
#include "core/transforms/transforms.hpp"

#include <algorithm>
#include <format>
#include <functional>
#include <iterator>

#include "core/array/array_kind.hpp"
#include "core/guards/long_sums.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/memory/array_limit.hpp"
#include "core/recording/computed_after.hpp"
#include "core/recording/ruled_operation.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif::transforms {
namespace {

using Arrays = std::span<const mlx_array>;
using Results = std::vector<ArrayHandle>;

namespace mx = mlx::core;

// Derivatives add nodes for each node of the program.
constexpr std::size_t nodes_of_derivative = 3;

// An instruction made of a function.
class Transform final : public Instruction {
 public:
  using Run = std::function<void(Arrays, Results&)>;

  Transform(InstructionTraits traits, std::size_t input_count, Run run, Run infer)
      : traits_(traits), input_count_(input_count), run_(std::move(run)), infer_(std::move(infer)) {}

  InstructionTraits traits() const override { return traits_; }

  void run(Arrays inputs, Results& results) const override {
    require(inputs.size() == input_count_, "expected as many arrays as the recorded function takes");
    require(std::ranges::all_of(inputs, [](mlx_array input) { return input.ctx != nullptr; }), "expected arrays");
    const std::size_t first = results.size();
    run_(inputs, results);
    add_in_pieces(borrow(std::span(results).subspan(first)), inputs);
  }

  void infer(Arrays inputs, Results& results) const override {
    traits_.dynamic ? infer_(inputs, results) : run(inputs, results);
  }

 private:
  const InstructionTraits traits_;
  const std::size_t input_count_;
  const Run run_;
  // Where the program is dynamic.
  const Run infer_;
};

// The program as it is.
class Call final : public Instruction {
 public:
  explicit Call(ProgramPointer program) : program_(std::move(program)) {}

  InstructionTraits traits() const override { return program_->traits(); }

  void run(Arrays inputs, Results& results) const override {
    std::ranges::move(program_->run(inputs), std::back_inserter(results));
  }

  void infer(Arrays inputs, Results& results) const override {
    std::ranges::move(program_->infer(inputs), std::back_inserter(results));
  }

 private:
  const ProgramPointer program_;
};

// Appends arrays as the outputs of the program are.
void infer_outputs(const Program& program, Arrays inputs, Results& results) {
  std::ranges::move(program.infer(inputs.first(program.input_count())), std::back_inserter(results));
}

// Appends an array as another is.
void infer_like(mlx_array array, Results& results) {
  const ArrayKind kind = kind_of(array);
  results.push_back(placeholder_of(kind));
}

// `nodes`: how many the transform makes of one. Without `infer`, the program may not be dynamic.
InstructionPointer make(InstructionTraits traits, std::size_t nodes, std::size_t input_count, Transform::Run run,
                        Transform::Run infer) {
  require(!traits.opaque, "a function with loops, branches or calls that depend on values cannot be transformed");
  require(!traits.dynamic || infer, "a function that exchanges arrays with other processes cannot be mapped over axes");
  traits.depth = traits.nodes;
  traits.nodes *= nodes;
  return std::make_shared<const Transform>(traits, input_count, std::move(run), std::move(infer));
}

InstructionTraits traits_of_derivative(const Program& program) {
  InstructionTraits traits = program.traits();
  traits.dynamic |= traits.dynamic_derivative;
  return traits;
}

void append_all(Results& results, const MlxArrays& arrays) {
  std::ranges::transform(arrays, std::back_inserter(results), handle_of);
}

// The program as MLX calls it; `captured` are its last inputs.
MlxFunction function_of(ProgramPointer program, Arrays captured = {}) {
  return [program = std::move(program), captured = arrays_of(captured)](const MlxArrays& inputs) {
    MlxArrays all = inputs;
    all.insert(all.end(), captured.begin(), captured.end());
    return arrays_of(borrow(program->run(borrow(all))));
  };
}

MlxArrays on_streams(MlxArrays arrays) {
  std::ranges::transform(arrays, arrays.begin(), on_a_stream);
  return arrays;
}

// The function as MLX differentiates it.
MlxFunction differentiable(MlxFunction function) {
  return [function = std::move(function)](const MlxArrays& inputs) { return on_streams(function(inputs)); };
}

// What vjp and jvp have in common: the primals, what the program captured, and as many others.
using Derivative = std::function<std::pair<MlxArrays, MlxArrays>(const MlxFunction&, const MlxArrays& primals,
                                                                 const MlxArrays& others)>;

// A derivative has an array for each output, which are tangents, or for each primal.
enum class Like { outputs, primals };

InstructionPointer derivative(ProgramPointer program, std::size_t primal_count, std::size_t other_count, Like like,
                              Derivative differentiate) {
  const Program& of = *program;
  require(primal_count <= of.input_count(), "expected no more primals than inputs");
  const auto infer = [program, primal_count, like](Arrays inputs, Results& results) {
    const std::size_t first = results.size();
    infer_outputs(*program, inputs, results);
    const std::vector<mlx_array> outputs = borrow(std::span(results).subspan(first));
    for (const mlx_array array : like == Like::outputs ? Arrays(outputs) : inputs.first(primal_count)) {
      infer_like(array, results);
    }
  };
  return make(
      traits_of_derivative(of), nodes_of_derivative, of.input_count() + other_count,
      [program = std::move(program), primal_count, differentiate = std::move(differentiate)](Arrays inputs,
                                                                                             Results& results) {
        const Arrays primals = inputs.first(primal_count);
        const Arrays captured = inputs.subspan(primal_count, program->input_count() - primal_count);
        const Arrays others = inputs.subspan(program->input_count());
        const Differentiating purpose;
        const TransformScope scope;
        const auto [outputs, derivatives] = differentiate(differentiable(function_of(program, captured)),
                                                          on_streams(arrays_of(primals)), arrays_of(others));
        append_all(results, outputs);
        append_all(results, derivatives);
      },
      infer);
}

// The size of the mapped axis. MLX itself reads beyond a shape for an axis that is one too high.
int mapped_size(Arrays inputs, const std::vector<int>& axes) {
  int size = -1;
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    const int axis = axes[index];
    if (axis == -1) {
      continue;
    }
    const int rank = static_cast<int>(mlx_array_ndim(inputs[index]));
    if (axis < 0 || axis >= rank) {
      throw ArgumentError(std::format("an array of {} axes has no axis {} to map over", rank, axis));
    }
    const int here = mlx_array_dim(inputs[index], axis);
    if (size != -1 && here != size) {
      throw ArgumentError(std::format("the mapped axes have sizes {} and {}", size, here));
    }
    size = here;
  }
  if (size == -1) {
    throw ArgumentError("no argument has an axis to map over");
  }
  return size;
}

void check_mapped_results(const Program& program, int size) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(program.traits().largest_result, static_cast<std::uint64_t>(size), &bytes) ||
      bytes > array_limit()) {
    throw Error(std::format("an intermediate result of {} slices exceeds the array limit of {:.1f} GB", size,
                            static_cast<double>(array_limit()) / 1e9));
  }
}

// A rule that is a program, over all of the lists of arrays one after the other.
template <typename... Lists>
MlxArrays call_rule(const ProgramPointer& rule, const Lists&... lists) {
  MlxArrays all;
  (all.insert(all.end(), lists.begin(), lists.end()), ...);
  return function_of(rule)(all);
}

VmapRules::Input describe(const mx::array& array, int axis) {
  auto [shape, type] = kind_of(borrow(array));
  return {axis, std::move(shape), type};
}

TransformRules::Mapped call_vmap(const std::shared_ptr<VmapRules>& rules, const MlxArrays& arrays,
                                 const std::vector<int>& axes) {
  require(arrays.size() == axes.size(), "expected an axis for each input");
  std::vector<VmapRules::Input> inputs;
  std::ranges::transform(arrays, axes, std::back_inserter(inputs), describe);
  const auto rule = rules->find(inputs);
  if (!rule) {
    throw NeedsVmapRule(rules, std::move(inputs));
  }
  return {function_of(rule->program, borrow(rule->captured))(arrays), rule->output_axes};
}

TransformRules rules_of(const ProgramPointer& vjp, const ProgramPointer& jvp, const std::shared_ptr<VmapRules>& vmap) {
  TransformRules rules;
  if (vjp) {
    rules.vjp = [vjp](const MlxArrays& primals, const MlxArrays& cotangents, const MlxArrays& results) {
      return call_rule(vjp, primals, cotangents, results);
    };
  }
  if (jvp) {
    rules.jvp = [jvp](const MlxArrays& primals, const MlxArrays& tangents) {
      return call_rule(jvp, primals, tangents);
    };
  }
  if (vmap) {
    rules.vmap = [vmap](const MlxArrays& inputs, const std::vector<int>& axes) {
      return call_vmap(vmap, inputs, axes);
    };
  }
  return rules;
}

}  // namespace

InstructionPointer call(ProgramPointer program) {
  return std::make_shared<const Call>(std::move(program));
}

InstructionPointer vjp(ProgramPointer program, std::size_t primal_count) {
  const std::size_t cotangent_count = program->output_count();
  return derivative(std::move(program), primal_count, cotangent_count, Like::primals,
                    [](const MlxFunction& function, const MlxArrays& primals, const MlxArrays& cotangents) {
                      return mx::vjp(function, primals, cotangents);
                    });
}

InstructionPointer jvp(ProgramPointer program, std::size_t primal_count) {
  return derivative(std::move(program), primal_count, primal_count, Like::outputs,
                    [](const MlxFunction& function, const MlxArrays& primals, const MlxArrays& tangents) {
                      return mx::jvp(function, primals, tangents);
                    });
}

InstructionPointer value_and_grad(ProgramPointer program, std::vector<int> argument_numbers) {
  const Program& of = *program;
  require(!argument_numbers.empty() && argument_numbers.front() >= 0 &&
              static_cast<std::size_t>(argument_numbers.back()) < of.input_count() &&
              std::ranges::adjacent_find(argument_numbers, std::greater_equal<>()) == argument_numbers.end(),
          "expected ascending numbers of arguments");
  require(of.output_count() > 0, "expected a function with an output");
  const auto infer = [program, numbers = argument_numbers](Arrays inputs, Results& results) {
    infer_outputs(*program, inputs, results);
    for (const int number : numbers) {
      infer_like(inputs[static_cast<std::size_t>(number)], results);
    }
  };
  return make(
      traits_of_derivative(of), nodes_of_derivative, of.input_count(),
      [program = std::move(program), numbers = std::move(argument_numbers)](Arrays inputs, Results& results) {
        const Differentiating purpose;
        const TransformScope scope;
        const auto [values, gradients] =
            mx::value_and_grad(differentiable(function_of(program)), numbers)(on_streams(arrays_of(inputs)));
        append_all(results, values);
        append_all(results, gradients);
      },
      infer);
}

InstructionPointer vmap(ProgramPointer program, std::vector<int> input_axes, std::vector<int> output_axes) {
  const Program& of = *program;
  require(input_axes.size() == of.input_count() && output_axes.size() == of.output_count(),
          "expected an axis for each input and output");
  return make(
      of.traits(), 1, of.input_count(),
      [program = std::move(program), input_axes = std::move(input_axes), output_axes = std::move(output_axes)](
          Arrays inputs, Results& results) {
        check_mapped_results(*program, mapped_size(inputs, input_axes));
        const Mapping purpose;
        const TransformScope scope;
        append_all(results, map_over_axes(function_of(program), arrays_of(inputs), input_axes, output_axes));
      },
      nullptr);
}

InstructionPointer checkpoint(ProgramPointer program) {
  const Program& of = *program;
  const auto infer = [program](Arrays inputs, Results& results) { infer_outputs(*program, inputs, results); };
  return make(
      of.traits(), 2, of.input_count(),
      [program = std::move(program)](Arrays inputs, Results& results) {
        TransformRules rules;
        rules.computed_anew_of = computed_after;
        append_all(results, ruled(differentiable(function_of(program)), arrays_of(inputs), rules));
      },
      infer);
}

InstructionPointer custom_function(ProgramPointer program, ProgramPointer vjp, ProgramPointer jvp,
                                   std::shared_ptr<VmapRules> vmap) {
  const Program& of = *program;
  require(!vjp || (vjp->input_count() == of.input_count() + 2 * of.output_count() &&
                   vjp->output_count() == of.input_count()),
          "expected a vjp that takes inputs, cotangents and outputs, and gives a cotangent for each input");
  require(!jvp || (jvp->input_count() == 2 * of.input_count() && jvp->output_count() == of.output_count()),
          "expected a jvp that takes inputs and a tangent for each, and gives a tangent for each output");
  InstructionTraits traits = of.traits();
  for (const ProgramPointer& derivative : {vjp, jvp}) {
    if (derivative) {
      traits.dynamic_derivative |= derivative->traits().dynamic;
      traits.opaque |= derivative->traits().opaque;
    }
  }
  const auto infer = [program](Arrays inputs, Results& results) { infer_outputs(*program, inputs, results); };
  return make(
      traits, 2, of.input_count(),
      [function = function_of(program), rules = rules_of(vjp, jvp, vmap)](Arrays inputs, Results& results) {
        append_all(results, ruled(function, arrays_of(inputs), rules));
      },
      infer);
}

}  // namespace mlx_nif::transforms
