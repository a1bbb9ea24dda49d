// Terms by key, for as long as somebody has the cache.
#pragma once

#include <erl_nif.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "nif/terms/environment.hpp"

namespace mlx_nif {

// Any number of processes may use one. It has a few entries: what a compiled function has for each kind of arguments.
// Entries are in groups, which are terms, too; of each the cache keeps so many as were used last.
class TermCache {
 public:
  explicit TermCache(std::size_t most_of_a_group) : most_of_a_group_(most_of_a_group) {}

  std::optional<ERL_NIF_TERM> find(ErlNifEnv* env, ERL_NIF_TERM key);

  // The values that were used last, no more than a group may have, the latest in front.
  std::vector<ERL_NIF_TERM> latest(ErlNifEnv* env) const;

  // Keeps what is there already, and returns what is there then.
  ERL_NIF_TERM insert(ErlNifEnv* env, ERL_NIF_TERM key, ERL_NIF_TERM group, ERL_NIF_TERM value);

 private:
  struct Entry {
    OwnEnvironment env;
    ERL_NIF_TERM key;
    ERL_NIF_TERM group;
    ERL_NIF_TERM value;
    ErlNifUInt64 group_hash;
    std::uint64_t last_use;
  };
  using Entries = std::unordered_multimap<ErlNifUInt64, Entry>;

  Entry* use_entry(ERL_NIF_TERM key, ErlNifUInt64 hash);
  // Those that `wanted(entry)` holds for, the one used last in front.
  template <typename Wanted>
  std::vector<Entries::const_iterator> entries(const Wanted& wanted) const;

  const std::size_t most_of_a_group_;
  mutable std::mutex mutex_;
  Entries entries_;
  std::uint64_t uses_ = 0;
};

}  // namespace mlx_nif
