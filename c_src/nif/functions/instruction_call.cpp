// Runs an instruction under the locks of the graphs, and records it where its operands are traced.
#include "nif/functions/instruction_call.hpp"

#include <cstddef>
#include <utility>

#include "core/recording/tracing.hpp"
#include "core/threads/deep_thread.hpp"
#include "nif/calls/call.hpp"
#include "nif/functions/encoder.hpp"
#include "nif/resources/arrays.hpp"

namespace mlx_nif {
namespace {

// Building more than this takes too long for a normal scheduler.
constexpr std::size_t most_nodes_built_inline = 500;

}  // namespace

std::vector<ERL_NIF_TERM> call_instruction(ErlNifEnv* env, std::shared_ptr<const Instruction> instruction,
                                           std::span<Array* const> operands, GraphLock::Promises promises) {
  if (instruction->traits().nodes > most_nodes_built_inline) {
    require_dirty_scheduler();
  }
  Tape* const tape = innermost_tape(operands);
  if (tape != nullptr) {
    if (auto other = instruction->recorded_as()) {
      instruction = std::move(other);
    }
  }
  const InstructionTraits traits = instruction->traits();
  if (traits.dynamic && tape == nullptr) {
    throw HasToBeExecuted();
  }
  GraphLock lock(operands, on_dirty_scheduler, promises);
  NodeTraits result_traits{.fallible = traits.fallible, .valueless = traits.dynamic};
  std::vector<mlx_array> inputs;
  inputs.reserve(operands.size());
  for (const Array* array : operands) {
    inherit(result_traits, *array, tape);
    inputs.push_back(array->get());
  }
  std::vector<ArrayHandle> results;
  with_stack_for(traits.depth,
                 [&] { traits.dynamic ? instruction->infer(inputs, results) : instruction->run(inputs, results); });
  const std::shared_ptr<Graph>& graph = lock.join();
  graph->add_nodes(traits.nodes);
  if (traits.uses_cpu) {
    graph->use_cpu();
  }
  Encoder encoder(env, graph, current_streams::of_caller(env), result_traits, false);
  if (tape != nullptr) {
    std::vector<Register> registers;
    for (Array* array : operands) {
      registers.push_back(tape->register_of(*array, Resource<Array>::share));
    }
    encoder.trace(*tape, tape->add_step(std::move(instruction), std::move(registers), results.size()));
  }
  return encoder.encode_all(results);
}

}  // namespace mlx_nif
