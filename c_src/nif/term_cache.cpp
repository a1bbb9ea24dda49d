#include "nif/term_cache.hpp"

namespace mlx_nif {
namespace {

ErlNifUInt64 hash_of(ERL_NIF_TERM key) {
  return enif_hash(ERL_NIF_INTERNAL_HASH, key, 0);
}

}  // namespace

std::optional<ERL_NIF_TERM> TermCache::find(ErlNifEnv* env, ERL_NIF_TERM key) const {
  const ErlNifUInt64 hash = hash_of(key);
  const std::lock_guard lock(mutex_);
  const Entry* entry = find_entry(key, hash);
  if (entry == nullptr) {
    return std::nullopt;
  }
  return enif_make_copy(env, entry->value);
}

ERL_NIF_TERM TermCache::insert(ErlNifEnv* env, ERL_NIF_TERM key, ERL_NIF_TERM value) {
  const ErlNifUInt64 hash = hash_of(key);
  const std::lock_guard lock(mutex_);
  if (const Entry* entry = find_entry(key, hash)) {
    return enif_make_copy(env, entry->value);
  }
  Entry entry{.env{enif_alloc_env()}, .key = 0, .value = 0};
  entry.key = enif_make_copy(entry.env.get(), key);
  entry.value = enif_make_copy(entry.env.get(), value);
  entries_.emplace(hash, std::move(entry));
  return value;
}

const TermCache::Entry* TermCache::find_entry(ERL_NIF_TERM key, ErlNifUInt64 hash) const {
  const auto [first, last] = entries_.equal_range(hash);
  for (auto entry = first; entry != last; ++entry) {
    if (enif_is_identical(entry->second.key, key) != 0) {
      return &entry->second;
    }
  }
  return nullptr;
}

}  // namespace mlx_nif
