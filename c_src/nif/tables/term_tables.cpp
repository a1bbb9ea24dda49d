// Maps outside of every process's heap.
#include "nif/functions/encoder.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

ERL_NIF_TERM table_new(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  if (!enif_is_map(env, argv[0])) {
    expected(env, "a map", argv[0]);
  }
  return Resource<TermTable>::make(env, argv[0]);
}

ERL_NIF_TERM table_find(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return decode_resource<TermTable>(env, argv[0], "a table").find(env, argv[1]).value_or(atoms.nil);
}

}  // namespace

std::vector<ErlNifFunc> term_table_functions() {
  return {
      dirty_function<"table_new", 1, table_new>(),
      function<"table_find", 2, table_find>(),
  };
}

}  // namespace mlx_nif
