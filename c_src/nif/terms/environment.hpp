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

// A term that outlives the call that it came with.
class KeptTerm {
 public:
  explicit KeptTerm(ERL_NIF_TERM term) : env_(enif_alloc_env()), term_(enif_make_copy(env_.get(), term)) {}

  ERL_NIF_TERM copy_to(ErlNifEnv* env) const { return enif_make_copy(env, term_); }

 private:
  OwnEnvironment env_;
  ERL_NIF_TERM term_;
};

}  // namespace mlx_nif
