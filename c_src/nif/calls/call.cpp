// Finds the public name of a native function, and raises C++ exceptions as those of Elixir.
#include "nif/calls/call.hpp"

#include <array>
#include <exception>
#include <new>
#include <utility>

#include "nif/calls/public_names.hpp"
#include "nif/terms/atoms.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> modules{{
    {"random_", "Mlx.Random."},
    {"linalg_", "Mlx.Linalg."},
    {"fft_", "Mlx.FFT."},
    {"fast_", "Mlx.Fast."},
    {"metal_", "Mlx.Metal."},
    {"distributed_", "Mlx.Distributed."},
}};

// mlx-c has one C function for each overload of a C++ function.
constexpr std::array<std::string_view, 4> overload_suffixes{"_axes", "_axis", "_dtype", "_single"};

}  // namespace

std::string public_name(std::string_view native_name) {
  for (const auto& [native, elixir] : public_names) {
    if (native == native_name) {
      return std::string(elixir);
    }
  }
  for (const auto suffix : overload_suffixes) {
    if (native_name.ends_with(suffix)) {
      return public_name(native_name.substr(0, native_name.size() - suffix.size()));
    }
  }
  for (const auto& [prefix, module] : modules) {
    if (native_name.starts_with(prefix)) {
      return std::string(module) + std::string(native_name.substr(prefix.size()));
    }
  }
  return "Mlx." + std::string(native_name);
}

ERL_NIF_TERM raise(ErlNifEnv* env, ERL_NIF_TERM module, const std::string& function, std::string_view message) {
  const std::string text = function + ": " + std::string(message);
  std::array keys{atoms.struct_, atoms.exception, atoms.message};
  std::array values{module, atoms.true_, make_binary(env, text)};
  ERL_NIF_TERM exception;
  enif_make_map_from_arrays(env, keys.data(), values.data(), keys.size(), &exception);
  return enif_raise_exception(env, exception);
}

ERL_NIF_TERM reschedule(ErlNifEnv* env, const char* name, NativeFunction function, int argc,
                        const ERL_NIF_TERM argv[]) {
  return enif_schedule_nif(env, name, ERL_NIF_DIRTY_JOB_IO_BOUND, function, argc, argv);
}

ERL_NIF_TERM raise_current(ErlNifEnv* env, const std::string& function) {
  try {
    throw;
  } catch (const ErrorOf& other) {
    try {
      std::rethrow_exception(other.error);
    } catch (...) {
      return raise_current(env, other.function);
    }
  } catch (const ArgumentError& error) {
    return raise(env, atoms.argument_error_module, function, error.what());
  } catch (const std::bad_alloc&) {
    return raise(env, atoms.error_module, function, "out of memory");
  } catch (const std::exception& error) {
    return raise(env, atoms.error_module, function, error.what());
  } catch (...) {
    return raise(env, atoms.error_module, function, "unknown error");
  }
}

}  // namespace mlx_nif
