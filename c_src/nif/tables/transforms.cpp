// Recording functions, and MLX's transforms of what was recorded.
#include "core/transforms/transforms.hpp"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/handles/array_lists.hpp"
#include "core/handles/expression.hpp"
#include "core/recording/tracing.hpp"
#include "nif/functions/function.hpp"
#include "nif/functions/instruction_call.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/environment.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

ERL_NIF_TERM make_list(ErlNifEnv* env, const std::vector<ERL_NIF_TERM>& terms) {
  return enif_make_list_from_array(env, terms.data(), static_cast<unsigned>(terms.size()));
}

ERL_NIF_TERM make_tape(ErlNifEnv* env, std::shared_ptr<Tape> tape, const std::vector<ERL_NIF_TERM>& placeholders) {
  return enif_make_tuple2(env, Resource<TapeResource>::make(env, std::move(tape)), make_list(env, placeholders));
}

// Placeholders that are the arguments themselves.
ERL_NIF_TERM begin_tape(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto tape = std::make_shared<Tape>(decode<std::string>(env, argv[0]));
  const PinnedArrays arguments(env, argv[1]);
  const GraphLock lock(arguments.all(), on_dirty_scheduler);
  std::vector<ERL_NIF_TERM> placeholders;
  for (const Array* argument : arguments.all()) {
    if (!argument->has_value()) {
      tape->take_valueless(*argument);
    }
    placeholders.push_back(make_placeholder(env, share(argument->get()), *argument, {tape, tape->add_input()}));
  }
  return make_tape(env, tape, placeholders);
}

// Placeholders that only have a shape and a type: those of one kind, one after another, are one node.
ERL_NIF_TERM begin_tape_without_values(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto tape = std::make_shared<Tape>(decode<std::string>(env, argv[0]));
  const mlx_stream stream = current_streams::of_caller(env);
  const auto graph = std::make_shared<Graph>();
  std::optional<ArrayKind> last;
  ArrayHandle placeholder;
  ArrayStructs structs(env);
  std::vector<ERL_NIF_TERM> placeholders;
  for (ArrayKind& kind : decode<std::vector<ArrayKind>>(env, argv[1])) {
    if (kind != last) {
      placeholder = placeholder_of(kind);
      last = std::move(kind);
    }
    placeholders.push_back(make_array(env, share(placeholder.get()), graph, stream, {.valueless = true},
                                      {tape, tape->add_input()}, &structs));
  }
  return make_tape(env, tape, placeholders);
}

// The recorded function, and the arrays that it captured.
ERL_NIF_TERM finish_tape(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const TapeResource& tape = decode_resource<TapeResource>(env, argv[0], "a tape");
  const PinnedArrays outputs(env, argv[1]);
  const auto recorded = tape.tape->finish(outputs.all(), Resource<Array>::share);
  std::vector<ERL_NIF_TERM> captured;
  for (const auto& array : recorded.captured) {
    captured.push_back(make_shared_array(env, *array));
  }
  return enif_make_tuple2(env, Resource<ProgramResource>::make(env, recorded.program), make_list(env, captured));
}

ERL_NIF_TERM abandon_tape(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  decode_resource<TapeResource>(env, argv[0], "a tape").tape->abandon();
  return atoms.ok;
}

ERL_NIF_TERM is_traced(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const PinnedArrays arrays(env, argv[0]);
  return make_boolean(innermost_tape(arrays.all()) != nullptr);
}

std::shared_ptr<const Program> decode_optional_program(ErlNifEnv* env, ERL_NIF_TERM term) {
  return is_nil(term) ? nullptr : decode<std::shared_ptr<const Program>>(env, term);
}

constexpr const char* rules_expected = "the rules of a custom function";

// The rules by which a custom function maps over axes; they are recorded from what `function` is for Elixir.
ERL_NIF_TERM vmap_rules_new(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return Resource<VmapRulesResource>::make(env, std::make_shared<VmapRules>(std::make_shared<const KeptTerm>(argv[0])));
}

std::shared_ptr<VmapRules> decode_optional_vmap_rules(ErlNifEnv* env, ERL_NIF_TERM term) {
  return is_nil(term) ? nullptr : decode_resource<VmapRulesResource>(env, term, rules_expected).rules;
}

// {axis, shape, type} of each input that a rule is for.
ERL_NIF_TERM encode_rule_inputs(ErlNifEnv* env, const std::vector<VmapRules::Input>& inputs) {
  std::vector<ERL_NIF_TERM> terms;
  for (const auto& [axis, shape, type] : inputs) {
    std::vector<ERL_NIF_TERM> dimensions;
    std::ranges::transform(shape, std::back_inserter(dimensions),
                           [env](int dimension) { return enif_make_int(env, dimension); });
    const ERL_NIF_TERM shape_term =
        enif_make_tuple_from_array(env, dimensions.data(), static_cast<unsigned>(dimensions.size()));
    terms.push_back(enif_make_tuple3(env, enif_make_int(env, axis), shape_term, type_atom(type)));
  }
  return make_list(env, terms);
}

std::vector<VmapRules::Input> decode_rule_inputs(ErlNifEnv* env, ERL_NIF_TERM list) {
  std::vector<VmapRules::Input> inputs;
  for_each_element(env, list, [&](ERL_NIF_TERM element) {
    const auto [axis, shape, type] = elements<3>(env, element);
    inputs.push_back({decode<int>(env, axis), decode<std::vector<int>>(env, shape), decode<mlx_dtype>(env, type)});
  });
  return inputs;
}

// Adds the rule for such inputs: a recorded function, what it captured, and the axes of its results.
ERL_NIF_TERM vmap_rule_insert(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto rules = decode_resource<VmapRulesResource>(env, argv[0], rules_expected).rules;
  std::vector<VmapRules::Input> inputs = decode_rule_inputs(env, argv[1]);
  VmapRules::Rule rule{.program = decode<std::shared_ptr<const Program>>(env, argv[2]),
                       .captured = {},
                       .output_axes = decode<std::vector<int>>(env, argv[4])};
  const PinnedArrays captured(env, argv[3]);
  for (const Array* array : captured.all()) {
    if (!array->settled()) {
      throw ArgumentError("expected captured arrays that are evaluated");
    }
    rule.captured.push_back(share(array->get()));
  }
  if (rule.program->input_count() != inputs.size() + rule.captured.size() ||
      rule.program->output_count() != rule.output_axes.size()) {
    throw ArgumentError("expected a rule with such inputs and outputs");
  }
  rules->insert(std::move(inputs), std::move(rule));
  return atoms.ok;
}

using transforms::InstructionPointer;
using transforms::ProgramPointer;

// A native function that makes an instruction of a program.
template <InstructionPointer make(ErlNifEnv*, ProgramPointer, const ERL_NIF_TERM*)>
ERL_NIF_TERM transform(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  ProgramPointer program = decode<std::shared_ptr<const Program>>(env, argv[0]);
  std::string name = program->name();
  return Resource<InstructionResource>::make(env, std::move(name), make(env, std::move(program), argv));
}

InstructionPointer call(ErlNifEnv*, ProgramPointer program, const ERL_NIF_TERM*) {
  return transforms::call(std::move(program));
}

InstructionPointer vjp(ErlNifEnv* env, ProgramPointer program, const ERL_NIF_TERM argv[]) {
  return transforms::vjp(std::move(program), decode<std::size_t>(env, argv[1]));
}

InstructionPointer jvp(ErlNifEnv* env, ProgramPointer program, const ERL_NIF_TERM argv[]) {
  return transforms::jvp(std::move(program), decode<std::size_t>(env, argv[1]));
}

InstructionPointer value_and_grad(ErlNifEnv* env, ProgramPointer program, const ERL_NIF_TERM argv[]) {
  return transforms::value_and_grad(std::move(program), decode<std::vector<int>>(env, argv[1]));
}

InstructionPointer vmap(ErlNifEnv* env, ProgramPointer program, const ERL_NIF_TERM argv[]) {
  return transforms::vmap(std::move(program), decode<std::vector<int>>(env, argv[1]),
                          decode<std::vector<int>>(env, argv[2]));
}

InstructionPointer checkpoint(ErlNifEnv*, ProgramPointer program, const ERL_NIF_TERM*) {
  return transforms::checkpoint(std::move(program));
}

InstructionPointer custom_function(ErlNifEnv* env, ProgramPointer program, const ERL_NIF_TERM argv[]) {
  return transforms::custom_function(std::move(program), decode_optional_program(env, argv[1]),
                                     decode_optional_program(env, argv[2]), decode_optional_vmap_rules(env, argv[3]));
}

// {rules, function, inputs}: what has to be recorded before the instruction can be run.
ERL_NIF_TERM encode(ErlNifEnv* env, const NeedsVmapRule& needed) {
  const auto& function = *static_cast<const KeptTerm*>(needed.rules->function().get());
  return enif_make_tuple3(env, Resource<VmapRulesResource>::make(env, needed.rules), function.copy_to(env),
                          encode_rule_inputs(env, needed.inputs));
}

// The results of a transformed function for a list of arrays. Or, when a custom function in it is mapped over axes in a
// way that it was not before, the rule that is missing; or {:execute, name} for one that only `execute` can run.
ERL_NIF_TERM apply_instruction(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto& function = decode_resource<InstructionResource>(env, argv[0], "a transformed function");
  try {
    return make_list(env, call_instruction(env, function.instruction, PinnedArrays(env, argv[1]).all()));
  } catch (const NeedsDirtyScheduler&) {
    throw;
  } catch (const NeedsVmapRule& needed) {
    return encode(env, needed);
  } catch (const HasToBeExecuted&) {
    return enif_make_tuple2(env, atoms.execute, make_binary(env, function.name));
  } catch (...) {
    throw ErrorOf{function.name, std::current_exception()};
  }
}

}  // namespace

std::vector<ErlNifFunc> transform_functions() {
  return {
      function<"begin_tape", 2, begin_tape>(),
      function<"begin_tape_without_values", 2, begin_tape_without_values>(),
      function<"finish_tape", 2, finish_tape>(),
      function<"abandon_tape", 1, abandon_tape>(),
      function<"is_traced", 1, is_traced>(),
      function<"program_call", 1, transform<call>>(),
      function<"program_vjp", 2, transform<vjp>>(),
      function<"program_jvp", 2, transform<jvp>>(),
      function<"program_value_and_grad", 2, transform<value_and_grad>>(),
      function<"program_vmap", 3, transform<vmap>>(),
      function<"program_checkpoint", 1, transform<checkpoint>>(),
      function<"program_custom_function", 4, transform<custom_function>>(),
      function<"vmap_rules_new", 1, vmap_rules_new>(),
      function<"vmap_rule_insert", 5, vmap_rule_insert>(),
      function<"apply_instruction", 2, apply_instruction>(),
  };
}

}  // namespace mlx_nif
