// Calls the functions that mlx-c has twice, once for Metal and once for CUDA, by one piece of code.
#include "core/kernels/kernel.hpp"

#include <type_traits>

#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

// mlx-c has the same functions twice.
struct MetalFunctions {
  using Config = Handle<mlx_fast_metal_kernel_config, mlx_fast_metal_kernel_config_free>;
  static constexpr auto new_config = mlx_fast_metal_kernel_config_new;
  static constexpr auto add_output = mlx_fast_metal_kernel_config_add_output_arg;
  static constexpr auto set_grid = mlx_fast_metal_kernel_config_set_grid;
  static constexpr auto set_thread_group = mlx_fast_metal_kernel_config_set_thread_group;
  static constexpr auto set_initial = mlx_fast_metal_kernel_config_set_init_value;
  static constexpr auto set_verbose = mlx_fast_metal_kernel_config_set_verbose;
  static constexpr auto add_type = mlx_fast_metal_kernel_config_add_template_arg_dtype;
  static constexpr auto add_integer = mlx_fast_metal_kernel_config_add_template_arg_int;
  static constexpr auto add_boolean = mlx_fast_metal_kernel_config_add_template_arg_bool;
  static constexpr auto apply = mlx_fast_metal_kernel_apply;
};

struct CudaFunctions {
  using Config = Handle<mlx_fast_cuda_kernel_config, mlx_fast_cuda_kernel_config_free>;
  static constexpr auto new_config = mlx_fast_cuda_kernel_config_new;
  static constexpr auto add_output = mlx_fast_cuda_kernel_config_add_output_arg;
  static constexpr auto set_grid = mlx_fast_cuda_kernel_config_set_grid;
  static constexpr auto set_thread_group = mlx_fast_cuda_kernel_config_set_thread_group;
  static constexpr auto set_initial = mlx_fast_cuda_kernel_config_set_init_value;
  static constexpr auto set_verbose = mlx_fast_cuda_kernel_config_set_verbose;
  static constexpr auto add_type = mlx_fast_cuda_kernel_config_add_template_arg_dtype;
  static constexpr auto add_integer = mlx_fast_cuda_kernel_config_add_template_arg_int;
  static constexpr auto add_boolean = mlx_fast_cuda_kernel_config_add_template_arg_bool;
  static constexpr auto apply = mlx_fast_cuda_kernel_apply;
};

template <typename Functions>
void add_constant(const typename Functions::Config& config, const std::string& name, KernelCall::Constant constant) {
  std::visit(
      [&](auto value) {
        using Value = decltype(value);
        if constexpr (std::is_same_v<Value, mlx_dtype>) {
          check(Functions::add_type(config.get(), name.c_str(), value));
        } else if constexpr (std::is_same_v<Value, int>) {
          check(Functions::add_integer(config.get(), name.c_str(), value));
        } else {
          check(Functions::add_boolean(config.get(), name.c_str(), value));
        }
      },
      constant);
}

template <typename Functions>
typename Functions::Config make_config(const KernelCall& call) {
  typename Functions::Config config(Functions::new_config());
  for (const auto& [shape, type] : call.outputs) {
    check(Functions::add_output(config.get(), shape.data(), shape.size(), type));
  }
  check(Functions::set_grid(config.get(), call.grid[0], call.grid[1], call.grid[2]));
  check(Functions::set_thread_group(config.get(), call.thread_group[0], call.thread_group[1], call.thread_group[2]));
  for (const auto& [name, constant] : call.constants) {
    add_constant<Functions>(config, name, constant);
  }
  if (call.initial) {
    check(Functions::set_initial(config.get(), *call.initial));
  }
  // mlx-c leaves it undefined.
  check(Functions::set_verbose(config.get(), call.verbose));
  return config;
}

template <typename Functions, typename Native>
ArrayVectorHandle apply_native(Native kernel, mlx_vector_array inputs, const KernelCall& call, mlx_stream stream) {
  const auto config = make_config<Functions>(call);
  ArrayVectorHandle outputs;
  check(Functions::apply(outputs.out(), kernel, inputs, config.get(), stream));
  return outputs;
}

StringVectorHandle vector_of(const std::vector<std::string>& strings) {
  StringVectorHandle vector(mlx_vector_string_new());
  for (const std::string& string : strings) {
    check(mlx_vector_string_append_value(vector.get(), string.c_str()));
  }
  return vector;
}

}  // namespace

Kernel Kernel::metal(const KernelSource& source, bool atomic_outputs) {
  return Kernel(require_made(Metal(
      mlx_fast_metal_kernel_new(source.name.c_str(), vector_of(source.inputs).get(), vector_of(source.outputs).get(),
                                source.body.c_str(), source.header.c_str(), source.row_major, atomic_outputs))));
}

Kernel Kernel::cuda(const KernelSource& source, int shared_memory) {
  return Kernel(require_made(Cuda(mlx_fast_cuda_kernel_new(source.name.c_str(), vector_of(source.inputs).get(),
                                                           vector_of(source.outputs).get(), source.body.c_str(),
                                                           source.header.c_str(), source.row_major, shared_memory))));
}

ArrayVectorHandle Kernel::apply(mlx_vector_array inputs, const KernelCall& call, mlx_stream stream) const {
  if (const Metal* kernel = std::get_if<Metal>(&handle_)) {
    return apply_native<MetalFunctions>(kernel->get(), inputs, call, stream);
  }
  return apply_native<CudaFunctions>(std::get<Cuda>(handle_).get(), inputs, call, stream);
}

}  // namespace mlx_nif
