// When garbage of the VM is to be collected for the memory that it keeps.
#pragma once

#include <erl_nif.h>

#include <cstddef>

#include "nif/calls/call.hpp"

namespace mlx_nif {
namespace memory_watch {

// What the caller has to do before MLX computes for it, as an atom: `collect` itself, `collect_others`, or `make_room`
// because more than the memory limit is in use; in most cases nothing, which is nil.
ERL_NIF_TERM needed_collection(ErlNifEnv* env);

// What the last `make_room` left is alive.
void room_made();

// Sends a process `memory_grew`, once, when so many bytes more are in use than there were at least meanwhile.
void report_growth(const ErlNifPid& process, std::size_t bytes);

// Looks whether they are.
void look(ErlNifEnv* env);

}  // namespace memory_watch

// Has MLX compute or make an array in a call of Elixir, after which memory may have grown.
template <typename Compute>
ERL_NIF_TERM computing(ErlNifEnv* env, const Compute& compute) {
  const TimeSlice slice(env);
  const ERL_NIF_TERM result = compute();
  memory_watch::look(env);
  return result;
}

}  // namespace mlx_nif
