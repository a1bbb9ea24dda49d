// Values into arrays, evaluation, and arrays into values.
#include <array>
#include <bit>
#include <complex>
#include <cstring>
#include <span>

#include "core/array/uploads.hpp"
#include "core/evaluation/ahead.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/values.hpp"
#include "core/memory/array_limit.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/memory_watch.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

// Copying more bytes than this takes too long for a normal scheduler.
constexpr std::size_t most_bytes_copied_inline = 256 * 1024;

// Shorter values are copied into a binary of the VM; it keeps small ones on the process's heap.
constexpr std::size_t least_bytes_shared = 64 * 1024;

Waiting waiting_here() {
  return on_normal_scheduler() ? Waiting::brief : Waiting::unlimited;
}

// A binary's elements, row-major in the machine's byte order, of a shape and type.
ERL_NIF_TERM copy_binary(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const ErlNifBinary binary = decode_binary(env, argv[0]);
  const auto shape = decode<std::vector<int>>(env, argv[1]);
  const auto type = decode<mlx_dtype>(env, argv[2]);
  double size = static_cast<double>(mlx_dtype_size(type));
  for (const int dimension : shape) {
    if (dimension < 0) {
      throw ArgumentError("a dimension is negative");
    }
    size *= dimension;
  }
  if (size != static_cast<double>(binary.size)) {
    throw ArgumentError("the shape and type take " + std::to_string(static_cast<std::size_t>(size)) +
                        " bytes, and the binary has " + std::to_string(binary.size));
  }
  if (binary.size > most_bytes_copied_inline) {
    require_dirty_scheduler();
  }
  return make_value(env, upload(binary.data, shape, type));
}

ERL_NIF_TERM from_binary(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return computing(env, [&] { return copy_binary(env, argv); });
}

ERL_NIF_TERM scalar(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto value = find_scalar(env, argv[0]);
  if (!value) {
    expected(env, "a number or boolean", argv[0]);
  }
  return make_value(env, make_scalar(*value, decode<mlx_dtype>(env, argv[1])));
}

ERL_NIF_TERM eval(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return computing(env, [&] {
    evaluate(PinnedArrays(env, argv[0]).all(), waiting_here());
    return atoms.ok;
  });
}

ERL_NIF_TERM async_eval(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return computing(env, [&] {
    start_evaluation(PinnedArrays(env, argv[0]).all(), waiting_here());
    return atoms.ok;
  });
}

ERL_NIF_TERM make_successors(ErlNifEnv* env, std::vector<Successor>& successors) {
  std::vector<ERL_NIF_TERM> arrays;
  ArrayStructs structs(env);
  for (Successor& successor : successors) {
    arrays.push_back(make_array(env, std::move(successor.handle), successor.graph, successor.stream, successor.traits,
                                {}, &structs));
  }
  return enif_make_list_from_array(env, arrays.data(), static_cast<unsigned>(arrays.size()));
}

// For two lists of arrays, those to go on with and those to read, the lists of what stands for them at once.
ERL_NIF_TERM start_ahead(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return computing(env, [&] {
    const PinnedArrays continued(env, argv[0]);
    const PinnedArrays read(env, argv[1]);
    Successors successors = evaluate_ahead(continued.all(), read.all(), waiting_here());
    return enif_make_tuple2(env, make_successors(env, successors.continued), make_successors(env, successors.read));
  });
}

// The bytes of the buffers that the arrays have, each buffer once.
ERL_NIF_TERM buffer_size(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return computing(env, [&] {
    const PinnedArrays arrays(env, argv[0]);
    evaluate(arrays.all(), waiting_here());
    return enif_make_uint64(env, size_of_buffers(arrays.all()));
  });
}

ERL_NIF_TERM read_binary(ErlNifEnv* env, const Pin& array) {
  check_size(array.get()->get());
  ArrayHandle value = row_major_value(*array.get(), waiting_here());
  const std::size_t size = mlx_array_nbytes(value.get());
  if (size >= least_bytes_shared && buffers_stay()) {
    const auto bytes = bytes_of(value.get(), waiting_here());
    return Resource<SharedBytes>::make_binary(env, bytes.data(), bytes.size(), SharedBytes{std::move(value)});
  }
  if (size > most_bytes_copied_inline) {
    require_dirty_scheduler();
  }
  ERL_NIF_TERM binary;
  auto* const bytes = reinterpret_cast<std::byte*>(enif_make_new_binary(env, size, &binary));
  copy_bytes(value.get(), {bytes, size}, waiting_here());
  return binary;
}

ERL_NIF_TERM to_binary(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return computing(env, [&] { return read_binary(env, decode_array(env, argv[0])); });
}

template <typename Element>
Element load(std::span<const std::byte> bytes) {
  Element element;
  std::memcpy(&element, bytes.data(), sizeof(Element));
  return element;
}

ERL_NIF_TERM make_element(ErlNifEnv* env, std::span<const std::byte> bytes, mlx_dtype type) {
  switch (type) {
    case MLX_BOOL:
      return make_boolean(load<std::uint8_t>(bytes) != 0);
    case MLX_UINT8:
      return enif_make_uint(env, load<std::uint8_t>(bytes));
    case MLX_UINT16:
      return enif_make_uint(env, load<std::uint16_t>(bytes));
    case MLX_UINT32:
      return enif_make_uint(env, load<std::uint32_t>(bytes));
    case MLX_UINT64:
      return enif_make_uint64(env, load<std::uint64_t>(bytes));
    case MLX_INT8:
      return enif_make_int(env, load<std::int8_t>(bytes));
    case MLX_INT16:
      return enif_make_int(env, load<std::int16_t>(bytes));
    case MLX_INT32:
      return enif_make_int(env, load<std::int32_t>(bytes));
    case MLX_INT64:
      return enif_make_int64(env, load<std::int64_t>(bytes));
    case MLX_FLOAT16:
      return make_float(env, static_cast<double>(load<_Float16>(bytes)));
    case MLX_FLOAT32:
      return make_float(env, load<float>(bytes));
    case MLX_FLOAT64:
      return make_float(env, load<double>(bytes));
    case MLX_BFLOAT16:
      return make_float(env, std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(bytes)) << 16));
    case MLX_COMPLEX64: {
      const auto value = load<std::complex<float>>(bytes);
      return enif_make_tuple2(env, make_float(env, value.real()), make_float(env, value.imag()));
    }
  }
  throw Error("unknown type");
}

ERL_NIF_TERM read_item(ErlNifEnv* env, const Pin& array) {
  const mlx_array handle = array.get()->get();
  if (mlx_array_size(handle) != 1) {
    throw ArgumentError("expected an array of one element, got one of " + std::to_string(mlx_array_size(handle)));
  }
  const mlx_dtype type = mlx_array_dtype(handle);
  const ArrayHandle value = row_major_value(*array.get(), waiting_here());
  std::array<std::byte, sizeof(std::complex<float>)> element;
  const auto bytes = std::span(element).first(mlx_array_nbytes(value.get()));
  copy_bytes(value.get(), bytes, waiting_here());
  return make_element(env, bytes, type);
}

ERL_NIF_TERM item(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return computing(env, [&] { return read_item(env, decode_array(env, argv[0])); });
}

ERL_NIF_TERM is_available(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const Pin array = decode_array(env, argv[0]);
  Array* const arrays[] = {array.get()};
  // Settles the array if its value has arrived.
  const GraphLock lock(arrays, waiting_here());
  return make_boolean(array.get()->settled());
}

void give_up(ErlNifEnv* env, ERL_NIF_TERM term) {
  Array* array = find_array(env, term);
  if (array == nullptr) {
    expected_array(env, "an Mlx.Array", term);
  }
  array->deallocate();
}

ERL_NIF_TERM deallocate(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  give_up(env, argv[0]);
  return atoms.ok;
}

// A list of arrays: a call for each takes longer than its end.
ERL_NIF_TERM deallocate_all(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const TimeSlice slice(env);
  for_each_element(env, argv[0], [env](ERL_NIF_TERM term) { give_up(env, term); });
  return atoms.ok;
}

}  // namespace

std::vector<ErlNifFunc> array_functions() {
  return {
      function<"from_binary", 3, from_binary>(),
      function<"scalar", 2, scalar>(),
      function<"eval", 1, eval>(),
      function<"async_eval", 1, async_eval>(),
      function<"start_ahead", 2, start_ahead>(),
      function<"buffer_size", 1, buffer_size>(),
      function<"to_binary", 1, to_binary>(),
      function<"item", 1, item>(),
      function<"is_available", 1, is_available>(),
      function<"deallocate", 1, deallocate>(),
      function<"deallocate_all", 1, deallocate_all>(),
  };
}

}  // namespace mlx_nif
