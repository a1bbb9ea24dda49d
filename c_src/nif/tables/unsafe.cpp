// What runs the caller's own code, or reads memory that the caller names: it can end the VM.
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/values.hpp"
#include "core/kernels/kernel.hpp"
#include "core/memory/array_limit.hpp"
#include "nif/functions/function.hpp"
#include "nif/functions/operation.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {

template <>
struct Decoder<KernelCall> {
  // {[{shape, type}], grid, thread_group, [{name, type | integer | boolean}], initial | nil, verbose}
  static KernelCall decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    const auto [outputs, grid, thread_group, constants, initial, verbose] = elements<6>(env, term);
    KernelCall call{};
    for_each_element(env, outputs, [&](ERL_NIF_TERM output) {
      const auto [shape, type] = elements<2>(env, output);
      call.outputs.emplace_back(mlx_nif::decode<std::vector<int>>(env, shape), mlx_nif::decode<mlx_dtype>(env, type));
      check_shape(call.outputs.back().first);
    });
    call.grid = size(env, grid);
    call.thread_group = size(env, thread_group);
    for_each_element(env, constants, [&](ERL_NIF_TERM constant) {
      const auto [name, value] = elements<2>(env, constant);
      call.constants.emplace_back(mlx_nif::decode<std::string>(env, name), decode_constant(env, value));
    });
    if (!is_nil(initial)) {
      call.initial = mlx_nif::decode<float>(env, initial);
    }
    call.verbose = mlx_nif::decode<bool>(env, verbose);
    return call;
  }

  static void check_shape(const std::vector<int>& shape) {
    for (const int dimension : shape) {
      if (dimension < 0) {
        throw ArgumentError("a dimension is negative");
      }
    }
  }

 private:
  static KernelCall::Size size(ErlNifEnv* env, ERL_NIF_TERM term) {
    KernelCall::Size result;
    std::ranges::transform(elements<3>(env, term), result.begin(),
                           [&](ERL_NIF_TERM element) { return mlx_nif::decode<int>(env, element); });
    if (std::ranges::any_of(result, [](int dimension) { return dimension < 1; })) {
      expected(env, "three positive integers", term);
    }
    return result;
  }

  static KernelCall::Constant decode_constant(ErlNifEnv* env, ERL_NIF_TERM term) {
    int integer = 0;
    if (enif_get_int(env, term, &integer) != 0) {
      return integer;
    }
    if (enif_is_identical(term, atoms.true_) != 0 || enif_is_identical(term, atoms.false_) != 0) {
      return mlx_nif::decode<bool>(env, term);
    }
    return mlx_nif::decode<mlx_dtype>(env, term);
  }
};

namespace detail {

struct KernelArgument {
  Resource<Kernel>::Kept kernel;
  static KernelArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    Kernel* kernel = Resource<Kernel>::find(env, term);
    if (kernel == nullptr) {
      expected(env, "the reference of an Mlx.Unsafe.Kernel", term);
    }
    return {Resource<Kernel>::Kept(*kernel)};
  }
  void forget_operands() {}
  auto native(Inputs&) const { return std::tuple<const Kernel*>(kernel.get()); }
};

struct KernelCallArgument {
  KernelCall call;
  static KernelCallArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    return {mlx_nif::decode<KernelCall>(env, term)};
  }
  void forget_operands() {}
  auto native(Inputs&) const { return std::tuple(&call); }
};

template <>
struct ArgumentOf<const Kernel*> {
  using type = KernelArgument;
};
template <>
struct ArgumentOf<const KernelCall*> {
  using type = KernelCallArgument;
};

}  // namespace detail

namespace {

int apply_kernel(mlx_vector_array* outputs, const Kernel* kernel, mlx_vector_array inputs, const KernelCall* call,
                 mlx_stream stream) {
  *outputs = kernel->apply(inputs, *call, stream).release();
  return 0;
}

// The last argument is what only one of the languages has.
template <auto make, typename Special>
ERL_NIF_TERM new_kernel(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const KernelSource source{.name = decode<std::string>(env, argv[0]),
                            .inputs = decode<std::vector<std::string>>(env, argv[1]),
                            .outputs = decode<std::vector<std::string>>(env, argv[2]),
                            .body = decode<std::string>(env, argv[3]),
                            .header = decode<std::string>(env, argv[4]),
                            .row_major = decode<bool>(env, argv[5])};
  return Resource<Kernel>::make(env, make(source, decode<Special>(env, argv[6])));
}

// Keeps a term for as long as MLX uses memory that belongs to it.
class Owner {
 public:
  explicit Owner(ERL_NIF_TERM term) : env_(enif_alloc_env()) { enif_make_copy(env_, term); }
  ~Owner() { enif_free_env(env_); }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  static void free(void* owner) { delete static_cast<Owner*>(owner); }

 private:
  ErlNifEnv* env_;
};

ERL_NIF_TERM from_pointer(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto address = decode<std::size_t>(env, argv[0]);
  const auto shape = decode<std::vector<int>>(env, argv[1]);
  const auto type = decode<mlx_dtype>(env, argv[2]);
  Decoder<KernelCall>::check_shape(shape);
  if (address == 0) {
    expected(env, "an address", argv[0]);
  }
  double bytes = static_cast<double>(mlx_dtype_size(type));
  for (const int dimension : shape) {
    bytes *= dimension;
  }
  if (bytes > static_cast<double>(array_limit())) {
    throw Error("an array of this shape exceeds the array limit");
  }
  return make_value(env, require_made(ArrayHandle(mlx_array_new_data_managed_payload(
                             reinterpret_cast<void*>(address), shape.data(), static_cast<int>(shape.size()), type,
                             new Owner(argv[3]), Owner::free))));
}

ERL_NIF_TERM to_pointer(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  Array* array = find_array(env, argv[0]);
  if (array == nullptr) {
    expected_array(env, "an Mlx.Array", argv[0]);
  }
  const Pin pin(*array);
  Array* const arrays[] = {array};
  evaluate(arrays, Waiting::unlimited);
  bool row_major = false;
  check(_mlx_array_is_row_contiguous(&row_major, array->get()));
  if (!row_major) {
    throw ArgumentError(
        "the elements are not in row-major order in memory; Mlx.contiguous/1 gives an array of which they are");
  }
  return enif_make_uint64(env, reinterpret_cast<std::uintptr_t>(bytes_of(array->get(), Waiting::unlimited).data()));
}

}  // namespace

std::vector<ErlNifFunc> unsafe_functions() {
  return {
      operation<"kernel_apply", &apply_kernel>(),
      function<"cuda_kernel", 7, new_kernel<Kernel::cuda, int>>(),
      function<"metal_kernel", 7, new_kernel<Kernel::metal, bool>>(),
      dirty_function<"from_pointer", 4, from_pointer>(),
      dirty_function<"to_pointer", 1, to_pointer>(),
  };
}

}  // namespace mlx_nif
