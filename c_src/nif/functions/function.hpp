// Native functions written by hand.
#pragma once

#include "nif/calls/call.hpp"

namespace mlx_nif {

// On the calling scheduler.
template <Name name, unsigned arity, auto body>
ErlNifFunc function() {
  return {name.text, arity, native<name, body>, 0};
}

// For what takes over a millisecond, or blocks.
template <Name name, unsigned arity, auto body>
ErlNifFunc dirty_function() {
  return {name.text, arity, native<name, body>, ERL_NIF_DIRTY_JOB_IO_BOUND};
}

}  // namespace mlx_nif
