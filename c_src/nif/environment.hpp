// Where terms live that no call has made.
#pragma once

#include <erl_nif.h>

#include <memory>

namespace mlx_nif {

// An environment of our own, for terms that outlive a call or are sent.
struct FreeEnvironment {
  void operator()(ErlNifEnv* env) const { enif_free_env(env); }
};
using OwnEnvironment = std::unique_ptr<ErlNifEnv, FreeEnvironment>;

}  // namespace mlx_nif
