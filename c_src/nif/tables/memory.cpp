// MLX's memory.
#include <algorithm>

#include "core/array/array.hpp"
#include "core/array/uploads.hpp"
#include "core/evaluation/cpu_rest.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/memory/array_limit.hpp"
#include "core/memory/holdings.hpp"
#include "core/memory/machine_memory.hpp"
#include "core/memory/memory_limits.hpp"
#include "core/memory/wired_memory.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/memory_watch.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

template <auto get>
std::size_t size_by() {
  std::size_t bytes = 0;
  check(get(&bytes));
  return bytes;
}

template <auto get>
ERL_NIF_TERM read_size(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  return enif_make_uint64(env, get());
}

// To Elixir, buffers that are kept for uploads are as free as those that MLX keeps.
std::size_t active_memory() {
  const std::size_t kept = bytes_kept_for_uploads();
  return std::max(size_by<mlx_get_active_memory>(), kept) - kept;
}

std::size_t free_memory() {
  return size_by<mlx_get_cache_memory>() + bytes_kept_for_uploads();
}

int clear_cache() {
  free_buffers_kept_for_uploads();
  return mlx_clear_cache();
}

// Has MLX do something while nothing else uses what it changes.
using Alone = void (*)(const std::function<void()>& work);

template <auto change, Alone alone = between_schedules>
ERL_NIF_TERM change_memory(ErlNifEnv*, const ERL_NIF_TERM[]) {
  alone([] { check(change()); });
  return atoms.ok;
}

ERL_NIF_TERM set_largest(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return enif_make_uint64(env, set_array_limit(decode<std::size_t>(env, argv[0])));
}

// Returns the limit that was there before.
template <auto set, Alone alone = between_schedules>
ERL_NIF_TERM set_limit(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto bytes = decode<std::size_t>(env, argv[0]);
  std::size_t previous = 0;
  alone([&] { previous = set(bytes); });
  return enif_make_uint64(env, previous);
}

template <auto change, Alone alone = between_schedules>
ERL_NIF_TERM change_by(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto bytes = decode<std::size_t>(env, argv[0]);
  alone([bytes] { change(bytes); });
  return atoms.ok;
}

// {bytes, arrays}
ERL_NIF_TERM get_held_memory(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  return enif_make_tuple2(env, enif_make_uint64(env, active_memory()), enif_make_uint64(env, Array::count()));
}

std::shared_ptr<Holdings> own_holdings(ErlNifEnv* env) {
  return Holdings::of(calling_process(env).pid);
}

ErlNifPid decode_process(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifPid process;
  if (enif_get_local_pid(env, term, &process) == 0) {
    expected(env, "a process of this node", term);
  }
  return process;
}

ERL_NIF_TERM needed_collection(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  return memory_watch::needed_collection(env);
}

// The bytes of the arrays that the caller made since it collected itself last.
ERL_NIF_TERM uncollected_bytes(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  return enif_make_int64(env, own_holdings(env)->growth());
}

ERL_NIF_TERM collected(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto holdings = Holdings::of(decode_process(env, argv[0]).pid);
  const auto growth_before = decode<std::int64_t>(env, argv[1]);
  if (holdings == own_holdings(env)) {
    holdings->collected(growth_before);
  } else {
    holdings->collected_by_others(growth_before);
  }
  return atoms.ok;
}

ERL_NIF_TERM postpone_collection(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  own_holdings(env)->postpone_collection();
  return atoms.ok;
}

// [{process, uncollected bytes}], the most first.
ERL_NIF_TERM make_growths(ErlNifEnv* env, const std::vector<Growth>& growths) {
  std::vector<ERL_NIF_TERM> processes;
  for (const auto& [holdings, bytes] : growths) {
    const ErlNifPid process{holdings->process()};
    processes.push_back(enif_make_tuple2(env, enif_make_pid(env, &process), enif_make_int64(env, bytes)));
  }
  return enif_make_list_from_array(env, processes.data(), static_cast<unsigned>(processes.size()));
}

ERL_NIF_TERM uncollected_processes(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return make_growths(env, Holdings::grown_by(decode<std::int64_t>(env, argv[0])));
}

// Those for which `needed_collection` says `collect_others`.
ERL_NIF_TERM overfull_processes(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  return make_growths(env, Holdings::all_overfull());
}

ERL_NIF_TERM room_made(ErlNifEnv*, const ERL_NIF_TERM[]) {
  memory_watch::room_made();
  return atoms.ok;
}

ERL_NIF_TERM report_growth(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  memory_watch::report_growth(calling_process(env), decode<std::size_t>(env, argv[0]));
  return atoms.ok;
}

}  // namespace

std::vector<ErlNifFunc> memory_functions() {
  return {
      function<"get_active_memory", 0, read_size<active_memory>>(),
      function<"get_cache_memory", 0, read_size<free_memory>>(),
      function<"get_peak_memory", 0, read_size<size_by<mlx_get_peak_memory>>>(),
      function<"get_memory_limit", 0, read_size<memory_limit>>(),
      function<"get_array_limit", 0, read_size<array_limit>>(),
      function<"set_array_limit", 1, set_largest>(),
      dirty_function<"set_memory_limit", 1, set_limit<set_memory_limit>>(),
      function<"get_cache_limit", 0, read_size<cache_limit>>(),
      dirty_function<"set_cache_limit", 1, set_limit<set_cache_limit, while_cpu_streams_rest>>(),
      dirty_function<"keep_within_room", 1, change_by<keep_within_room, while_cpu_streams_rest>>(),
      function<"get_held_memory", 0, get_held_memory>(),
      function<"needed_collection", 0, needed_collection>(),
      function<"uncollected_bytes", 0, uncollected_bytes>(),
      function<"uncollected_processes", 1, uncollected_processes>(),
      function<"overfull_processes", 0, overfull_processes>(),
      function<"collected", 2, collected>(),
      function<"postpone_collection", 0, postpone_collection>(),
      function<"room_made", 0, room_made>(),
      function<"report_growth", 1, report_growth>(),
      function<"get_wired_limit", 0, read_size<wired_memory::limit>>(),
      dirty_function<"set_wired_limit", 1, set_limit<wired_memory::set_limit>>(),
      dirty_function<"hold_wired_memory", 1, change_by<wired_memory::hold>>(),
      dirty_function<"clear_cache", 0, change_memory<clear_cache, while_cpu_streams_rest>>(),
      dirty_function<"reset_peak_memory", 0, change_memory<mlx_reset_peak_memory>>(),
  };
}

}  // namespace mlx_nif
