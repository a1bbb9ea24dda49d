// The library as the VM sees it: the table of native functions, and loading, upgrading and unloading.
#include <dlfcn.h>
#include <erl_nif.h>

#include <atomic>
#include <exception>
#include <vector>

#include "core/array/array.hpp"
#include "core/array/reaper.hpp"
#include "core/evaluation/process_end.hpp"
#include "core/handles/error.hpp"
#include "core/kernels/kernel_maker.hpp"
#include "core/memory/machine_memory.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/main_thread.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/atoms.hpp"

namespace mlx_nif {
namespace {

// How many loaded versions of the Elixir module use this library: while one replaces another there are two.
std::atomic<int> users{0};

std::vector<ErlNifFunc> all_functions() {
  std::vector<ErlNifFunc> all;
  for (const auto& table :
       {creation_operations(),  elementwise_operations(), fast_operations(),         fft_operations(),
        indexing_operations(),  linalg_operations(),      products_operations(),     random_operations(),
        reduction_operations(), shape_operations(),       array_functions(),         control_flow_functions(),
        device_functions(),     distributed_functions(),  function_file_functions(), io_functions(),
        kernel_functions(),     memory_functions(),       term_cache_functions(),    term_table_functions(),
        transform_functions(),  unsafe_functions()}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  return all;
}

// The status that the VM halts with, once it does; it tells nobody. Null should it have another name one day.
const int* halt_status() {
  return static_cast<const int*>(dlsym(RTLD_DEFAULT, "erts_halt_code"));
}

// What the library does to its host, and leaves out where the configuration says so.
struct HostEffects {
  bool malloc_thresholds = true;
  bool exit_handler = true;
};

// From a tuple of booleans.
HostEffects decode_effects(ErlNifEnv* env, ERL_NIF_TERM wanted) {
  int count = 0;
  const ERL_NIF_TERM* switches = nullptr;
  if (enif_get_tuple(env, wanted, &count, &switches) == 0 || count != 2) {
    return {};
  }
  const auto is_on = [env](ERL_NIF_TERM term) { return enif_is_identical(term, enif_make_atom(env, "false")) == 0; };
  return {.malloc_thresholds = is_on(switches[0]), .exit_handler = is_on(switches[1])};
}

void start_mlx(HostEffects effects) {
  on_main_thread([effects] {
    Streams::instance().start();
    if (Streams::instance().started()) {
      keep_free_buffers();
    }
    if (effects.malloc_thresholds) {
      keep_free_mappings();
    }
    if (effects.exit_handler) {
      stop_scheduling_at_exit(nullptr);
    }
  });
}

bool try_to_start_mlx(HostEffects effects) {
  try {
    start_mlx(effects);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void end_first_at_halt(void*) {
  stop_scheduling_at_exit(halt_status());
}

void end_as_usual_at_halt(void*) {
  stop_scheduling(halt_status());
}

int start(ErlNifEnv* env, ERL_NIF_TERM wanted) {
  make_atoms(env);
  const HostEffects effects = decode_effects(env, wanted);
  static const bool started = try_to_start_mlx(effects);
  if (!started || !open_resources(env)) {
    return 1;
  }
  // What ran first at the end of the process would no longer be first if MLX has registered something since.
  ErlNifOnHaltCallback* const on_halt = effects.exit_handler ? end_first_at_halt : end_as_usual_at_halt;
  enif_set_option(env, ERL_NIF_OPT_ON_HALT, on_halt);
  ++users;
  return 0;
}

int load(ErlNifEnv* env, void**, ERL_NIF_TERM wanted) {
  return start(env, wanted);
}

// Arrays outlive the version of the library that made them: a new one takes their types over.
int upgrade(ErlNifEnv* env, void**, void**, ERL_NIF_TERM wanted) {
  return start(env, wanted);
}

void unload(ErlNifEnv*, void*) {
  if (--users == 0) {
    Reaper::instance().stop();
    KernelMaker::instance().stop();
  }
}

}  // namespace
}  // namespace mlx_nif

extern "C" __attribute__((visibility("default"))) ErlNifEntry* nif_init() {
  static std::vector<ErlNifFunc> functions = mlx_nif::all_functions();
  static ErlNifEntry entry{
      .major = ERL_NIF_MAJOR_VERSION,
      .minor = ERL_NIF_MINOR_VERSION,
      .name = "Elixir.Mlx.Native",
      .num_of_funcs = static_cast<int>(functions.size()),
      .funcs = functions.data(),
      .load = mlx_nif::load,
      .reload = nullptr,
      .upgrade = mlx_nif::upgrade,
      .unload = mlx_nif::unload,
      .vm_variant = ERL_NIF_VM_VARIANT,
      .options = 1,  // The one that there is: dirty schedulers are used.
      .sizeof_ErlNifResourceTypeInit = sizeof(ErlNifResourceTypeInit),
      .min_erts = ERL_NIF_MIN_ERTS_VERSION,
  };
  return &entry;
}
