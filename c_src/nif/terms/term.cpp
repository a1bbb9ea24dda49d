// Decodes numbers, strings and names, and says what was expected in the place of another term.
#include "nif/terms/term.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "nif/terms/elixir_text.hpp"

namespace mlx_nif {
namespace {

// The value of an atom that stands for a float, or nothing.
std::optional<double> special_float(ERL_NIF_TERM term) {
  if (enif_is_identical(term, atoms.nan) != 0) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  if (enif_is_identical(term, atoms.infinity) != 0) {
    return std::numeric_limits<double>::infinity();
  }
  if (enif_is_identical(term, atoms.neg_infinity) != 0) {
    return -std::numeric_limits<double>::infinity();
  }
  return std::nullopt;
}

std::optional<double> find_double(ErlNifEnv* env, ERL_NIF_TERM term) {
  double number = 0;
  if (enif_get_double(env, term, &number) != 0) {
    return number;
  }
  ErlNifSInt64 integer = 0;
  if (enif_get_int64(env, term, &integer) != 0) {
    return static_cast<double>(integer);
  }
  return special_float(term);
}

}  // namespace

void expected(ErlNifEnv* env, const char* what, ERL_NIF_TERM term) {
  throw ArgumentError(std::string("expected ") + what + ", got: " + elixir_text(env, term));
}

void expected_array(ErlNifEnv* env, const char* what, ERL_NIF_TERM term) {
  if (is_array_struct(env, term)) {
    throw ArgumentError(
        "the memory of this array is in another virtual machine, or was in one that has ended; send or store its "
        "bytes, which Mlx.IO.encode/2 gives of arrays and Nx.serialize/2 of a tensor");
  }
  throw ArgumentError(std::string("expected ") + what + ", got: " + elixir_text(env, term) + array_hint(env, term));
}

ERL_NIF_TERM make_binary(ErlNifEnv* env, std::string_view bytes) {
  ERL_NIF_TERM term;
  unsigned char* data = enif_make_new_binary(env, bytes.size(), &term);
  std::ranges::copy(bytes, data);
  return term;
}

ERL_NIF_TERM make_boolean(bool value) {
  return value ? atoms.true_ : atoms.false_;
}

ERL_NIF_TERM make_float(ErlNifEnv* env, double value) {
  if (std::isnan(value)) {
    return atoms.nan;
  }
  if (std::isinf(value)) {
    return value > 0 ? atoms.infinity : atoms.neg_infinity;
  }
  return enif_make_double(env, value);
}

ERL_NIF_TERM make_map(ErlNifEnv* env, std::vector<ERL_NIF_TERM> keys, std::vector<ERL_NIF_TERM> values) {
  ERL_NIF_TERM map;
  if (enif_make_map_from_arrays(env, keys.data(), values.data(), keys.size(), &map) == 0) {
    throw Error("a name occurs twice");
  }
  return map;
}

ERL_NIF_TERM type_atom(mlx_dtype type) {
  return atoms.types.at(type);
}

std::optional<Scalar> find_scalar(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifSInt64 integer = 0;
  if (enif_get_int64(env, term, &integer) != 0) {
    return Scalar(static_cast<std::int64_t>(integer));
  }
  ErlNifUInt64 natural = 0;
  if (enif_get_uint64(env, term, &natural) != 0) {
    return Scalar(static_cast<std::uint64_t>(natural));
  }
  if (const auto number = find_double(env, term)) {
    return Scalar(*number);
  }
  if (enif_is_identical(term, atoms.true_) != 0 || enif_is_identical(term, atoms.false_) != 0) {
    return Scalar(enif_is_identical(term, atoms.true_) != 0);
  }
  int arity = 0;
  const ERL_NIF_TERM* parts = nullptr;
  if (enif_get_tuple(env, term, &arity, &parts) != 0 && arity == 2) {
    const auto re = find_double(env, parts[0]);
    const auto im = find_double(env, parts[1]);
    if (re && im) {
      return Scalar(std::complex<float>(static_cast<float>(*re), static_cast<float>(*im)));
    }
  }
  return std::nullopt;
}

bool Decoder<bool>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  if (enif_is_identical(term, atoms.true_) != 0) {
    return true;
  }
  if (enif_is_identical(term, atoms.false_) != 0) {
    return false;
  }
  expected(env, "a boolean", term);
}

int Decoder<int>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  int value = 0;
  if (enif_get_int(env, term, &value) == 0) {
    expected(env, "an integer of 32 bits", term);
  }
  return value;
}

std::int64_t Decoder<std::int64_t>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifSInt64 value = 0;
  if (enif_get_int64(env, term, &value) == 0) {
    expected(env, "an integer of 64 bits", term);
  }
  return value;
}

double Decoder<double>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  const auto value = find_double(env, term);
  if (!value) {
    expected(env, "a number, :nan, :infinity or :neg_infinity", term);
  }
  return *value;
}

ErlNifBinary decode_binary(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifBinary binary;
  if (enif_inspect_binary(env, term, &binary) == 0) {
    expected(env, "a binary", term);
  }
  return binary;
}

std::string Decoder<std::string>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifBinary binary;
  if (enif_inspect_binary(env, term, &binary) != 0 && std::memchr(binary.data, 0, binary.size) == nullptr) {
    return {reinterpret_cast<const char*>(binary.data), binary.size};
  }
  unsigned length = 0;
  if (enif_get_atom_length(env, term, &length, ERL_NIF_UTF8) != 0) {
    std::string name(length + 1, '\0');
    enif_get_atom(env, term, name.data(), name.size(), ERL_NIF_UTF8);
    name.resize(length);
    return name;
  }
  expected(env, "a string or atom", term);
}

mlx_dtype Decoder<mlx_dtype>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  const auto found = std::ranges::find_if(atoms.types, [&](auto atom) { return enif_is_identical(atom, term) != 0; });
  if (found == atoms.types.end()) {
    expected(env, "a type (:bool, :u8 .. :u64, :s8 .. :s64, :f16, :bf16, :f32, :f64 or :c64)", term);
  }
  return static_cast<mlx_dtype>(found - atoms.types.begin());
}

mlx_fft_norm Decoder<mlx_fft_norm>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  if (enif_is_identical(term, atoms.backward) != 0) {
    return MLX_FFT_NORM_BACKWARD;
  }
  if (enif_is_identical(term, atoms.ortho) != 0) {
    return MLX_FFT_NORM_ORTHO;
  }
  if (enif_is_identical(term, atoms.forward) != 0) {
    return MLX_FFT_NORM_FORWARD;
  }
  expected(env, ":backward, :ortho or :forward", term);
}

mlx_device_type Decoder<mlx_device_type>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  if (enif_is_identical(term, atoms.cpu) != 0) {
    return MLX_CPU;
  }
  if (enif_is_identical(term, atoms.gpu) != 0) {
    return MLX_GPU;
  }
  expected(env, ":cpu or :gpu", term);
}

}  // namespace mlx_nif
