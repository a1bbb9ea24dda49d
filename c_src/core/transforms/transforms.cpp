// Gives a program to MLX's transforms as a closure, together with what it captured.
#include "core/transforms/transforms.hpp"

#include <algorithm>
#include <format>
#include <functional>

#include "core/array/array_kind.hpp"
#include "core/guards/long_sums.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/memory/array_limit.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif::transforms {
namespace {

using Arrays = std::span<const mlx_array>;
using Results = std::vector<ArrayHandle>;

using ValueAndGradHandle = Handle<mlx_closure_value_and_grad, mlx_closure_value_and_grad_free>;
using CustomHandle = Handle<mlx_closure_custom, mlx_closure_custom_free>;
using CustomJvpHandle = Handle<mlx_closure_custom_jvp, mlx_closure_custom_jvp_free>;
using CustomVmapHandle = Handle<mlx_closure_custom_vmap, mlx_closure_custom_vmap_free>;

// Derivatives add nodes for each node of the program.
constexpr std::size_t nodes_of_derivative = 3;

// An instruction made of a function.
class Transform final : public Instruction {
 public:
  using Run = std::function<void(Arrays, Results&)>;

  Transform(InstructionTraits traits, std::size_t input_count, Run run)
      : traits_(traits), input_count_(input_count), run_(std::move(run)) {}

  InstructionTraits traits() const override { return traits_; }

  void run(Arrays inputs, Results& results) const override {
    require(inputs.size() == input_count_, "expected as many arrays as the recorded function takes");
    require(std::ranges::all_of(inputs, [](mlx_array input) { return input.ctx != nullptr; }), "expected arrays");
    const std::size_t first = results.size();
    run_(inputs, results);
    add_in_pieces(borrow(std::span(results).subspan(first)), inputs);
  }

 private:
  const InstructionTraits traits_;
  const std::size_t input_count_;
  const Run run_;
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

// `nodes`: how many the transform makes of one.
InstructionPointer make(const Program& program, std::size_t nodes, std::size_t input_count, Transform::Run run) {
  InstructionTraits traits = program.traits();
  require(!traits.dynamic, "a function with loops, branches or calls that depend on values cannot be transformed");
  traits.depth = traits.nodes;
  traits.nodes *= nodes;
  return std::make_shared<const Transform>(traits, input_count, std::move(run));
}

// The primals of a derivative. MLX copies each on the stream of the operation that made it, and where none did on the
// default stream: a GPU's has no f64.
ArrayVectorHandle primals_of(Arrays arrays) {
  std::vector<ArrayHandle> copies;
  std::vector<mlx_array> primals(arrays.begin(), arrays.end());
  for (mlx_array& primal : primals) {
    if (mlx_array_dtype(primal) == MLX_FLOAT64 && !array_of(primal).has_primitive()) {
      copies.push_back(apply(mlx_copy, primal, Streams::instance().default_stream(MLX_FLOAT64)));
      primal = copies.back().get();
    }
  }
  return vector_of(primals);
}

// What vjp and jvp have in common: the primals, what the program captured, and as many others.
using Derivative = int(mlx_vector_array*, mlx_vector_array*, const mlx_closure, const mlx_vector_array,
                       const mlx_vector_array);

InstructionPointer derivative(ProgramPointer program, std::size_t primal_count, std::size_t other_count,
                              Derivative& differentiate) {
  const Program& of = *program;
  require(primal_count <= of.input_count(), "expected no more primals than inputs");
  return make(of, nodes_of_derivative, of.input_count() + other_count,
              [program = std::move(program), primal_count, &differentiate](Arrays inputs, Results& results) {
                const Arrays primals = inputs.first(primal_count);
                const Arrays captured = inputs.subspan(primal_count, program->input_count() - primal_count);
                const ClosureHandle closure = program->closure(captured);
                const auto others = vector_of(inputs.subspan(program->input_count()));
                ArrayVectorHandle outputs;
                ArrayVectorHandle derivatives;
                const Differentiating scope;
                check_transform(differentiate(outputs.out(), derivatives.out(), closure.get(),
                                              primals_of(primals).get(), others.get()));
                append_all(results, outputs.get());
                append_all(results, derivatives.get());
              });
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

// mlx-c's functions that MLX calls for a derivative of a custom function: they run a program, which is the payload.
template <typename Collect>
int call_program(mlx_vector_array* results, void* payload, const Collect& collect) {
  return guard_closure([&] {
    std::vector<ArrayHandle> inputs;
    collect(inputs);
    const auto& program = *static_cast<const ProgramPointer*>(payload);
    set_all(results, program->run(borrow(inputs)));
  });
}

int call_vjp(mlx_vector_array* results, const mlx_vector_array primals, const mlx_vector_array cotangents,
             const mlx_vector_array outputs, void* payload) {
  return call_program(results, payload, [&](std::vector<ArrayHandle>& inputs) {
    append_all(inputs, primals);
    append_all(inputs, cotangents);
    append_all(inputs, outputs);
  });
}

// MLX gives tangents only for some of the primals; the tangents of the others are zero.
int call_jvp(mlx_vector_array* results, const mlx_vector_array primals, const mlx_vector_array tangents,
             const int* numbers, std::size_t count, void* payload) {
  return call_program(results, payload, [&](std::vector<ArrayHandle>& inputs) {
    append_all(inputs, primals);
    const std::size_t primal_count = inputs.size();
    std::vector<ArrayHandle> given;
    append_all(given, tangents);
    for (std::size_t primal = 0; primal < primal_count; ++primal) {
      const int* found = std::find(numbers, numbers + count, static_cast<int>(primal));
      if (found != numbers + count) {
        inputs.push_back(std::move(given[static_cast<std::size_t>(found - numbers)]));
      } else {
        const mlx_stream stream = Streams::instance().default_stream(mlx_array_dtype(inputs[primal].get()));
        inputs.push_back(apply(mlx_zeros_like, inputs[primal].get(), stream));
      }
    }
  });
}

VmapRules::Input describe(mlx_array array, int axis) {
  auto [shape, type] = kind_of(array);
  return {axis, std::move(shape), type};
}

int call_vmap(mlx_vector_array* results, mlx_vector_int* result_axes, const mlx_vector_array arrays, const int* axes,
              std::size_t count, void* payload) {
  return guard_closure([&] {
    const auto& rules = *static_cast<const std::shared_ptr<VmapRules>*>(payload);
    std::vector<ArrayHandle> given;
    append_all(given, arrays);
    require(given.size() == count, "expected an axis for each input");
    std::vector<VmapRules::Input> inputs;
    for (std::size_t index = 0; index < count; ++index) {
      inputs.push_back(describe(given[index].get(), axes[index]));
    }
    const auto rule = rules->find(inputs);
    if (!rule) {
      throw NeedsVmapRule(rules, std::move(inputs));
    }
    std::vector<mlx_array> all = borrow(given);
    std::ranges::transform(rule->captured, std::back_inserter(all), &ArrayHandle::get);
    set_all(results, rule->program->run(all));
    std::vector<int> output_axes = rule->output_axes;
    check(mlx_vector_int_set_data(result_axes, output_axes.data(), output_axes.size()));
  });
}

// A shared pointer as the payload of a closure.
template <typename Object>
void* payload_of(const std::shared_ptr<Object>& object) {
  return new std::shared_ptr<Object>(object);
}

template <typename Object>
void free_payload(void* payload) {
  delete static_cast<std::shared_ptr<Object>*>(payload);
}

}  // namespace

InstructionPointer call(ProgramPointer program) {
  return std::make_shared<const Call>(std::move(program));
}

InstructionPointer vjp(ProgramPointer program, std::size_t primal_count) {
  const std::size_t cotangent_count = program->output_count();
  return derivative(std::move(program), primal_count, cotangent_count, mlx_vjp);
}

InstructionPointer jvp(ProgramPointer program, std::size_t primal_count) {
  return derivative(std::move(program), primal_count, primal_count, mlx_jvp);
}

InstructionPointer value_and_grad(ProgramPointer program, std::vector<int> argument_numbers) {
  const Program& of = *program;
  require(!argument_numbers.empty() && argument_numbers.front() >= 0 &&
              static_cast<std::size_t>(argument_numbers.back()) < of.input_count() &&
              std::ranges::adjacent_find(argument_numbers, std::greater_equal<>()) == argument_numbers.end(),
          "expected ascending numbers of arguments");
  require(of.output_count() > 0, "expected a function with an output");
  return make(of, nodes_of_derivative, of.input_count(),
              [program = std::move(program), numbers = std::move(argument_numbers)](Arrays inputs, Results& results) {
                const ClosureHandle closure = program->closure();
                ValueAndGradHandle transformed;
                check(mlx_value_and_grad(transformed.out(), closure.get(), numbers.data(), numbers.size()));
                ArrayVectorHandle values;
                ArrayVectorHandle gradients;
                const Differentiating scope;
                check_transform(mlx_closure_value_and_grad_apply(values.out(), gradients.out(), transformed.get(),
                                                                 primals_of(inputs).get()));
                append_all(results, values.get());
                append_all(results, gradients.get());
              });
}

InstructionPointer vmap(ProgramPointer program, std::vector<int> input_axes, std::vector<int> output_axes) {
  const Program& of = *program;
  require(input_axes.size() == of.input_count() && output_axes.size() == of.output_count(),
          "expected an axis for each input and output");
  return make(of, 1, of.input_count(),
              [program = std::move(program), input_axes = std::move(input_axes), output_axes = std::move(output_axes)](
                  Arrays inputs, Results& results) {
                check_mapped_results(*program, mapped_size(inputs, input_axes));
                const ClosureHandle closure = program->closure();
                const ArrayVectorHandle all = vector_of(inputs);
                const Mapping scope;
                ArrayVectorHandle traced_inputs;
                ArrayVectorHandle traced_outputs;
                check_transform(mlx_detail_vmap_trace(traced_inputs.out(), traced_outputs.out(), closure.get(),
                                                      all.get(), input_axes.data(), input_axes.size()));
                ArrayVectorHandle outputs;
                check_transform(mlx_detail_vmap_replace(outputs.out(), all.get(), traced_inputs.get(),
                                                        traced_outputs.get(), input_axes.data(), input_axes.size(),
                                                        output_axes.data(), output_axes.size()));
                append_all(results, outputs.get());
              });
}

InstructionPointer checkpoint(ProgramPointer program) {
  const Program& of = *program;
  return make(of, 2, of.input_count(), [program = std::move(program)](Arrays inputs, Results& results) {
    const ClosureHandle closure = program->closure();
    ClosureHandle transformed;
    check(mlx_checkpoint(transformed.out(), closure.get()));
    apply_closure(transformed.get(), inputs, results);
  });
}

InstructionPointer custom_function(ProgramPointer program, ProgramPointer vjp, ProgramPointer jvp,
                                   std::shared_ptr<VmapRules> vmap) {
  const Program& of = *program;
  require(!vjp || (vjp->input_count() == of.input_count() + 2 * of.output_count() &&
                   vjp->output_count() == of.input_count()),
          "expected a vjp that takes inputs, cotangents and outputs, and gives a cotangent for each input");
  require(!jvp || (jvp->input_count() == 2 * of.input_count() && jvp->output_count() == of.output_count()),
          "expected a jvp that takes inputs and a tangent for each, and gives a tangent for each output");
  return make(of, 2, of.input_count(),
              [program = std::move(program), vjp = std::move(vjp), jvp = std::move(jvp), vmap = std::move(vmap)](
                  Arrays inputs, Results& results) {
                const ClosureHandle closure = program->closure();
                const CustomHandle custom_vjp(
                    vjp ? mlx_closure_custom_new_func_payload(call_vjp, payload_of(vjp), free_payload<const Program>)
                        : mlx_closure_custom{});
                const CustomJvpHandle custom_jvp(jvp ? mlx_closure_custom_jvp_new_func_payload(
                                                           call_jvp, payload_of(jvp), free_payload<const Program>)
                                                     : mlx_closure_custom_jvp{});
                const CustomVmapHandle custom_vmap(vmap ? mlx_closure_custom_vmap_new_func_payload(
                                                              call_vmap, payload_of(vmap), free_payload<VmapRules>)
                                                        : mlx_closure_custom_vmap{});
                ClosureHandle transformed;
                check(mlx_custom_function(transformed.out(), closure.get(), custom_vjp.get(), custom_jvp.get(),
                                          custom_vmap.get()));
                apply_closure(transformed.get(), inputs, results);
              });
}

}  // namespace mlx_nif::transforms
