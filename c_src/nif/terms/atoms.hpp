// The atoms that cross the border.
#pragma once

#include <erl_nif.h>
#include <mlx/c/mlx.h>

#include <array>
#include <cstddef>

namespace mlx_nif {

struct Atoms {
  ERL_NIF_TERM ok, error, call, busy, execute, nil, true_, false_, nan, infinity, neg_infinity;
  ERL_NIF_TERM collect, collect_others, make_room, memory_grew;
  ERL_NIF_TERM struct_, exception, message, ref;
  ERL_NIF_TERM array_module, stream_module, error_module, argument_error_module;
  ERL_NIF_TERM cpu, gpu;
  ERL_NIF_TERM backward, ortho, forward;
  ERL_NIF_TERM background, wait, never;
  ERL_NIF_TERM ids;
  // In the order of `mlx_dtype`.
  std::array<ERL_NIF_TERM, MLX_COMPLEX64 + 1> types;
  // The keys of `%Mlx.Array{}` in the order in which the VM keeps them, which saves it sorting them, and where each
  // stands in `__struct__, ref, shape, type`.
  std::array<ERL_NIF_TERM, 4> array_keys;
  std::array<std::size_t, 4> array_key_order;
};

// Set at load, never changed.
inline Atoms atoms;

void make_atoms(ErlNifEnv* env);

}  // namespace mlx_nif
