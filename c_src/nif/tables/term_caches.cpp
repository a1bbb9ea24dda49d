// Terms by key that are found again, outside of every process's heap.
#include "nif/terms/term_cache.hpp"

#include <cstddef>

#include "core/handles/error.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

constexpr const char* cache_expected = "a cache";

ERL_NIF_TERM cache_new(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto most = decode<std::size_t>(env, argv[0]);
  if (most == 0) {
    throw ArgumentError("expected a cache of at least one term");
  }
  return Resource<TermCache>::make(env, most);
}

ERL_NIF_TERM cache_find(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return decode_resource<TermCache>(env, argv[0], cache_expected).find(env, argv[1]).value_or(atoms.nil);
}

ERL_NIF_TERM cache_latest(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto values = decode_resource<TermCache>(env, argv[0], cache_expected).latest(env);
  return enif_make_list_from_array(env, values.data(), static_cast<unsigned>(values.size()));
}

ERL_NIF_TERM cache_insert(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return decode_resource<TermCache>(env, argv[0], cache_expected).insert(env, argv[1], argv[2], argv[3]);
}

}  // namespace

std::vector<ErlNifFunc> term_cache_functions() {
  return {
      function<"cache_new", 1, cache_new>(),
      function<"cache_find", 2, cache_find>(),
      function<"cache_latest", 1, cache_latest>(),
      function<"cache_insert", 4, cache_insert>(),
  };
}

}  // namespace mlx_nif
