// Sets the variables whose standard values do harm to a process that runs for long.
#include "core/streams/environment.hpp"

#include <cstdlib>
#include <filesystem>
#include <format>
#include <optional>
#include <string>

#include "core/handles/error.hpp"
#include "core/handles/handle.hpp"

namespace mlx_nif {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

// That of the set-up on Linux, see setup/cache.sh: there is no CUDA elsewhere.
std::optional<std::filesystem::path> cache_folder() {
  if (const auto folder = variable("MLX_CACHE")) {
    return *folder;
  }
  if (const auto folder = variable("XDG_CACHE_HOME")) {
    return std::filesystem::path(*folder) / "mlx-elixir";
  }
  if (const auto folder = variable("HOME")) {
    return std::filesystem::path(*folder) / ".cache" / "mlx-elixir";
  }
  return std::nullopt;
}

std::string mlx_version_text() {
  StringHandle version;
  check(mlx_version(version.out()));
  return mlx_string_data(version.get());
}

}  // namespace

void set_environment_defaults() {
  // When many different graphs are evaluated on CUDA, MLX tells that a cache of its own is too small for them by ending
  // an evaluation halfway: arrays that count as evaluated never get their values. It only costs time.
  setenv("MLX_ENABLE_CACHE_THRASHING_CHECK", "0", 0);
  // The kernels that CUDA compiles on their first use, half a minute for some, are otherwise in the folder for
  // temporary files and lost with it.
  if (const auto cache = cache_folder()) {
    setenv("MLX_PTX_CACHE_DIR", (*cache / std::format("ptx-{}", mlx_version_text())).c_str(), 0);
  }
}

}  // namespace mlx_nif
