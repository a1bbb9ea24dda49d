// How fused kernels are made for a CPU.
#include "core/kernels/kernel_maker.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <utility>

#include "core/kernels/fused_kernel.hpp"
#include "nif/functions/function.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

// Why a kernel could not be made, or nil.
ERL_NIF_TERM kernel_failure(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  const std::string message = last_kernel_failure();
  return message.empty() ? atoms.nil : make_binary(env, message);
}

ERL_NIF_TERM set_kernel_making(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const std::array<std::pair<ERL_NIF_TERM, KernelMaking>, 3> all{{{atoms.background, KernelMaking::background},
                                                                  {atoms.wait, KernelMaking::wait},
                                                                  {atoms.never, KernelMaking::never}}};
  const auto* const found = std::ranges::find(all, argv[0], &std::pair<ERL_NIF_TERM, KernelMaking>::first);
  if (found == all.end()) {
    expected(env, ":background, :wait or :never", argv[0]);
  }
  KernelMaker::instance().set_making(found->second);
  return atoms.ok;
}

// How many are to be made.
ERL_NIF_TERM open_kernels(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  return enif_make_uint64(env, KernelMaker::instance().open());
}

// Where MLX keeps kernels, or nil where there is no folder for temporary files.
ERL_NIF_TERM kernel_folder(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  const std::filesystem::path folder = kernel_folder_path();
  return folder.empty() ? atoms.nil : make_binary(env, folder.string());
}

}  // namespace

std::vector<ErlNifFunc> kernel_functions() {
  return {
      function<"kernel_failure", 0, kernel_failure>(),
      function<"kernel_folder", 0, kernel_folder>(),
      function<"set_kernel_making", 1, set_kernel_making>(),
      function<"open_kernels", 0, open_kernels>(),
  };
}

}  // namespace mlx_nif
