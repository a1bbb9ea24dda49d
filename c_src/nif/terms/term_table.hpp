// A map outside of every process's heap, so that no message copies it and no collection looks at it.
#pragma once

#include <erl_nif.h>

#include <optional>

#include "nif/terms/environment.hpp"

namespace mlx_nif {

// Any number of processes may read it.
class TermTable {
 public:
  explicit TermTable(ERL_NIF_TERM map) : env_(enif_alloc_env()), map_(enif_make_copy(env_.get(), map)) {}

  std::optional<ERL_NIF_TERM> find(ErlNifEnv* env, ERL_NIF_TERM key) const {
    ERL_NIF_TERM value = 0;
    if (enif_get_map_value(env_.get(), map_, key, &value) == 0) {
      return std::nullopt;
    }
    return enif_make_copy(env, value);
  }

 private:
  OwnEnvironment env_;
  ERL_NIF_TERM map_;
};

}  // namespace mlx_nif
