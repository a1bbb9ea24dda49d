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
       {creation_operations(),    elementwise_operations(), fast_operations(),       fft_operations(),
        indexing_operations(),    linalg_operations(),      products_operations(),   random_operations(),
        reduction_operations(),   shape_operations(),       array_functions(),       compilation_functions(),
        control_flow_functions(), device_functions(),       distributed_functions(), function_file_functions(),
        grammar_functions(),      io_functions(),           kernel_functions(),      memory_functions(),
        term_table_functions(),   transform_functions(),    unsafe_functions()}) {
    all.insert(all.end(), table.begin(), table.end());
  }
  return all;
}

// The status that the VM halts with, once it does; it tells nobody. Null should it have another name one day.
const int* halt_status() {
  return static_cast<const int*>(dlsym(RTLD_DEFAULT, "erts_halt_code"));
}

// Whether the configuration wants the thresholds of malloc to be set.
bool wants_malloc_thresholds(ErlNifEnv* env, ERL_NIF_TERM wanted) {
  return enif_is_identical(wanted, enif_make_atom(env, "false")) == 0;
}

void start_mlx(bool malloc_thresholds) {
  on_main_thread([malloc_thresholds] {
    Streams::instance().start();
    if (Streams::instance().started()) {
      keep_free_buffers();
    }
    if (malloc_thresholds) {
      keep_free_mappings();
    }
    stop_scheduling_at_exit(nullptr);
  });
}

bool try_to_start_mlx(bool malloc_thresholds) {
  try {
    start_mlx(malloc_thresholds);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

int start(ErlNifEnv* env, ERL_NIF_TERM wanted) {
  make_atoms(env);
  static const bool started = try_to_start_mlx(wants_malloc_thresholds(env, wanted));
  if (!started || !open_resources(env)) {
    return 1;
  }
  // What ran first at the end of the process would no longer be first if MLX has registered something since.
  enif_set_option(env, ERL_NIF_OPT_ON_HALT,
                  static_cast<ErlNifOnHaltCallback*>([](void*) { stop_scheduling_at_exit(halt_status()); }));
  ++users;
  return 0;
}

// Keeps the library in memory until the process ends, also where the VM refuses it or lets it go: destructors and what
// is registered for the end of the process are in it, and are called then.
void stay_loaded() {
  static const char inside = 0;
  Dl_info library{};
  if (dladdr(&inside, &library) != 0) {
    static void* const held = dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    static_cast<void>(held);
  }
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
  mlx_nif::stay_loaded();
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
