// Writes files as MLX does: the code, and the name of its function.
#include "core/kernels/kept_kernels.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <functional>
#include <string_view>
#include <system_error>
#include <variant>

#include "core/handles/mlx_objects.hpp"
#include "core/kernels/cuda_compiler.hpp"

namespace mlx_nif {
namespace {

namespace fs = std::filesystem;
namespace mx = mlx::core;

std::string architecture() {
  const auto info = mx::device_info(mx::Device::gpu);
  const auto found = info.find("architecture");
  return found == info.end() ? "" : std::get<std::string>(found->second);
}

// Other threads and virtual machines may read and write the file, too.
bool write(const fs::path& path, std::string_view content) {
  static std::atomic<unsigned> writes = 0;
  fs::path part = path;
  part += std::format(".{}.{}", getpid(), ++writes);
  const bool written = static_cast<bool>(std::ofstream(part, std::ios::binary) << content << std::flush);
  std::error_code error;
  if (written) {
    fs::rename(part, path, error);
  }
  if (!written || error) {
    fs::remove(part, error);
    return false;
  }
  return true;
}

bool is_kept(const fs::path& file) {
  const auto has_content = [](const fs::path& path) {
    return std::ifstream(path, std::ios::binary).peek() != std::ifstream::traits_type::eof();
  };
  return has_content(file) && has_content(fs::path(file).replace_extension(".txt"));
}

// The file of the code, which MLX looks for, comes last.
bool keep(const fs::path& file, const std::string& name, const std::string& code) {
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  return write(fs::path(file).replace_extension(".txt"), std::format("{}\t{}\n", name, name)) && write(file, code);
}

}  // namespace

std::optional<CompiledKernel> kept_kernel(const std::string& name, const std::string& source) {
  const std::string gpu = architecture();
  const std::string key = std::format("{} for {}: {:x}", name, gpu, std::hash<std::string>()(source));
  const char* const folder = std::getenv("MLX_PTX_CACHE_DIR");
  const fs::path file =
      fs::path(folder == nullptr ? "" : folder) / std::format("{}_{:x}.ptx", name, std::hash<std::string>()(key));
  if (folder != nullptr && is_kept(file)) {
    return CompiledKernel{name, key};
  }
  auto code = compile_for_cuda(source, gpu);
  if (!code) {
    return std::nullopt;
  }
  const bool kept = folder != nullptr && keep(file, name, *code);
  return CompiledKernel{name, kept ? key : *std::move(code)};
}

}  // namespace mlx_nif
