// MLX's memory.
#include "core/array.hpp"
#include "core/limits.hpp"
#include "core/scheduling.hpp"
#include "core/wired_memory.hpp"
#include "nif/function.hpp"
#include "nif/tables.hpp"
#include "nif/term.hpp"

namespace mlx_nif {
namespace {

template <auto get>
ERL_NIF_TERM read_size(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  std::size_t bytes = 0;
  check(get(&bytes));
  return enif_make_uint64(env, bytes);
}

template <auto change>
ERL_NIF_TERM change_memory(ErlNifEnv*, const ERL_NIF_TERM[]) {
  between_schedules([] { check(change()); });
  return atoms.ok;
}

template <auto limit>
ERL_NIF_TERM read_limit(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  return enif_make_uint64(env, limit());
}

ERL_NIF_TERM set_largest(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return enif_make_uint64(env, set_array_limit(decode<std::size_t>(env, argv[0])));
}

// Returns the limit that was there before.
template <auto set>
ERL_NIF_TERM set_limit(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto bytes = decode<std::size_t>(env, argv[0]);
  std::size_t previous = 0;
  between_schedules([&] { previous = set(bytes); });
  return enif_make_uint64(env, previous);
}

template <auto change>
ERL_NIF_TERM change_wired(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto bytes = decode<std::size_t>(env, argv[0]);
  between_schedules([bytes] { change(bytes); });
  return atoms.ok;
}

// {bytes, arrays}
ERL_NIF_TERM get_held_memory(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  std::size_t bytes = 0;
  check(mlx_get_active_memory(&bytes));
  return enif_make_tuple2(env, enif_make_uint64(env, bytes), enif_make_uint64(env, Array::count()));
}

}  // namespace

std::vector<ErlNifFunc> memory_functions() {
  return {
      function<"get_active_memory", 0, read_size<mlx_get_active_memory>>(),
      function<"get_cache_memory", 0, read_size<mlx_get_cache_memory>>(),
      function<"get_peak_memory", 0, read_size<mlx_get_peak_memory>>(),
      function<"get_memory_limit", 0, read_limit<memory_limit>>(),
      function<"get_array_limit", 0, read_limit<array_limit>>(),
      function<"set_array_limit", 1, set_largest>(),
      dirty_function<"set_memory_limit", 1, set_limit<set_memory_limit>>(),
      function<"get_cache_limit", 0, read_limit<cache_limit>>(),
      dirty_function<"set_cache_limit", 1, set_limit<set_cache_limit>>(),
      function<"get_held_memory", 0, get_held_memory>(),
      function<"get_wired_limit", 0, read_limit<wired_memory::limit>>(),
      dirty_function<"set_wired_limit", 1, set_limit<wired_memory::set_limit>>(),
      dirty_function<"hold_wired_memory", 1, change_wired<wired_memory::hold>>(),
      dirty_function<"release_wired_memory", 1, change_wired<wired_memory::release>>(),
      dirty_function<"clear_cache", 0, change_memory<mlx_clear_cache>>(),
      dirty_function<"reset_peak_memory", 0, change_memory<mlx_reset_peak_memory>>(),
  };
}

}  // namespace mlx_nif
