// Terms by key, for as long as somebody has the cache.
#pragma once

#include <erl_nif.h>

#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "nif/environment.hpp"

namespace mlx_nif {

// Any number of processes may use one. It has a few entries: what a compiled function has for each kind of arguments.
class TermCache {
 public:
  std::optional<ERL_NIF_TERM> find(ErlNifEnv* env, ERL_NIF_TERM key) const;

  // Keeps what is there already, and returns what is there then.
  ERL_NIF_TERM insert(ErlNifEnv* env, ERL_NIF_TERM key, ERL_NIF_TERM value);

 private:
  struct Entry {
    OwnEnvironment env;
    ERL_NIF_TERM key;
    ERL_NIF_TERM value;
  };

  const Entry* find_entry(ERL_NIF_TERM key, ErlNifUInt64 hash) const;

  mutable std::mutex mutex_;
  std::unordered_multimap<ErlNifUInt64, Entry> entries_;
};

}  // namespace mlx_nif
