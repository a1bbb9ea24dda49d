// The call of an instruction from Elixir, as that of one operation.
#pragma once

#include <erl_nif.h>

#include <memory>
#include <span>
#include <vector>

#include "core/array/array.hpp"
#include "core/array/graph_lock.hpp"
#include "core/handles/error.hpp"
#include "core/recording/program.hpp"

namespace mlx_nif {

// What the instruction does depends on values, and its inputs are not traced.
struct HasToBeExecuted : ArgumentError {
  HasToBeExecuted() : ArgumentError("what depends on values has to be executed") {}
};

// The results for these arrays, which are pinned: new nodes of their graph. Throws HasToBeExecuted, and
// NeedsDirtyScheduler where the instruction makes many nodes.
std::vector<ERL_NIF_TERM> call_instruction(ErlNifEnv* env, std::shared_ptr<const Instruction> instruction,
                                           std::span<Array* const> operands,
                                           GraphLock::Promises promises = GraphLock::Promises::awaited);

}  // namespace mlx_nif
