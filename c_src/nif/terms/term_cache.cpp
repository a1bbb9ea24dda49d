// Keeps entries by the hash of their keys, and drops those of a group that were used longest ago.
#include "nif/terms/term_cache.hpp"

#include <algorithm>
#include <functional>
#include <ranges>
#include <utility>

namespace mlx_nif {
namespace {

ErlNifUInt64 hash_of(ERL_NIF_TERM term) {
  return enif_hash(ERL_NIF_INTERNAL_HASH, term, 0);
}

}  // namespace

template <typename Wanted>
std::vector<TermCache::Entries::const_iterator> TermCache::entries(const Wanted& wanted) const {
  std::vector<Entries::const_iterator> found;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (wanted(entry->second)) {
      found.push_back(entry);
    }
  }
  std::ranges::sort(found, std::ranges::greater{}, [](const auto& entry) { return entry->second.last_use; });
  return found;
}

std::optional<ERL_NIF_TERM> TermCache::find(ErlNifEnv* env, ERL_NIF_TERM key) {
  const ErlNifUInt64 hash = hash_of(key);
  const std::lock_guard lock(mutex_);
  const Entry* entry = use_entry(key, hash);
  if (entry == nullptr) {
    return std::nullopt;
  }
  return enif_make_copy(env, entry->value);
}

std::vector<ERL_NIF_TERM> TermCache::latest(ErlNifEnv* env) const {
  const std::lock_guard lock(mutex_);
  const auto all = entries([](const Entry&) { return true; });
  std::vector<ERL_NIF_TERM> values;
  for (const auto& entry : all | std::views::take(most_of_a_group_)) {
    values.push_back(enif_make_copy(env, entry->second.value));
  }
  return values;
}

ERL_NIF_TERM TermCache::insert(ErlNifEnv* env, ERL_NIF_TERM key, ERL_NIF_TERM group, ERL_NIF_TERM value) {
  const ErlNifUInt64 hash = hash_of(key);
  const std::lock_guard lock(mutex_);
  if (const Entry* entry = use_entry(key, hash)) {
    return enif_make_copy(env, entry->value);
  }
  const ErlNifUInt64 group_hash = hash_of(group);
  const auto others = entries(
      [&](const Entry& entry) { return entry.group_hash == group_hash && enif_is_identical(entry.group, group) != 0; });
  for (const auto& entry : others | std::views::drop(most_of_a_group_ - 1)) {
    entries_.erase(entry);
  }
  Entry entry{.env{enif_alloc_env()}, .key = 0, .group = 0, .value = 0, .group_hash = group_hash, .last_use = ++uses_};
  entry.key = enif_make_copy(entry.env.get(), key);
  entry.group = enif_make_copy(entry.env.get(), group);
  entry.value = enif_make_copy(entry.env.get(), value);
  entries_.emplace(hash, std::move(entry));
  return value;
}

TermCache::Entry* TermCache::use_entry(ERL_NIF_TERM key, ErlNifUInt64 hash) {
  const auto [first, last] = entries_.equal_range(hash);
  const auto found =
      std::find_if(first, last, [key](const auto& entry) { return enif_is_identical(entry.second.key, key) != 0; });
  if (found == last) {
    return nullptr;
  }
  found->second.last_use = ++uses_;
  return &found->second;
}

}  // namespace mlx_nif
