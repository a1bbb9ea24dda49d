// Programs that depend on values.
#include "core/transforms/control_flow.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/handles/array_lists.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/recording/tracing.hpp"
#include "core/transforms/partial_compilation.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/execution.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

using ProgramPointer = std::shared_ptr<const Program>;

ERL_NIF_TERM make_instruction(ErlNifEnv* env, std::shared_ptr<const Instruction> instruction) {
  return Resource<InstructionResource>::make(env, std::string("Mlx.Compiler"), std::move(instruction));
}

ERL_NIF_TERM is_dynamic(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return make_boolean(decode<ProgramPointer>(env, argv[0])->traits().dynamic);
}

// Condition, body, and the number of arrays of the state.
ERL_NIF_TERM loop(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return make_instruction(env,
                          control_flow::loop(decode<ProgramPointer>(env, argv[0]), decode<ProgramPointer>(env, argv[1]),
                                             decode<std::size_t>(env, argv[2])));
}

// What is run for true, and what for false, and whether their arrays are small.
ERL_NIF_TERM branch(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return make_instruction(env, control_flow::branch(decode<ProgramPointer>(env, argv[0]),
                                                    decode<ProgramPointer>(env, argv[1]), decode<bool>(env, argv[2])));
}

// A program as something to run often, and how often it is run before it is compiled.
ERL_NIF_TERM prepare_program(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  auto program = decode<ProgramPointer>(env, argv[0]);
  std::string name = program->name();
  return Resource<InstructionResource>::make(env, std::move(name),
                                             compile_where_possible(std::move(program), decode<int>(env, argv[1])));
}

// The number of a function, and the shape and type of each of its results.
ERL_NIF_TERM host_call(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return make_instruction(
      env, control_flow::host_call(decode<std::uint64_t>(env, argv[0]), decode<std::vector<ArrayKind>>(env, argv[1])));
}

// Starts an instruction for a list of arrays; see `Execution` for what is sent with the tag.
ERL_NIF_TERM execute(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto& function = decode_resource<InstructionResource>(env, argv[0], "a transformed function");
  const PinnedArrays operands(env, argv[1]);
  if (innermost_tape(operands.all()) != nullptr) {
    throw ArgumentError("expected arrays that are not traced");
  }
  std::vector<std::shared_ptr<Array>> inputs;
  std::ranges::transform(operands.all(), std::back_inserter(inputs),
                         [](Array* array) { return Resource<Array>::share(*array); });
  ErlNifPid process;
  enif_self(env, &process);
  auto execution = std::make_shared<Execution>(function.instruction, std::move(inputs), process, argv[2]);
  const ERL_NIF_TERM term = Resource<ExecutionResource>::make(env, execution);
  Execution::start(execution);
  return term;
}

// Answers a call with its results, or ends the execution with nil.
ERL_NIF_TERM resume(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  Execution& execution = *decode_resource<ExecutionResource>(env, argv[0], "an execution").execution;
  if (is_nil(argv[1])) {
    execution.resume(std::nullopt);
    return atoms.ok;
  }
  const PinnedArrays arrays(env, argv[1]);
  evaluate(arrays.all(), Waiting::unlimited);
  std::vector<ArrayHandle> results;
  for (const Array* array : arrays.all()) {
    results.push_back(share(array->get()));
  }
  execution.resume(std::move(results));
  return atoms.ok;
}

}  // namespace

std::vector<ErlNifFunc> control_flow_functions() {
  return {
      function<"program_is_dynamic", 1, is_dynamic>(), function<"program_loop", 3, loop>(),
      function<"program_branch", 3, branch>(),         function<"program_prepare", 2, prepare_program>(),
      function<"host_call", 2, host_call>(),           function<"execute", 3, execute>(),
      dirty_function<"resume", 2, resume>(),
  };
}

}  // namespace mlx_nif
