// Elixir terms to C++ values and back.
#pragma once

#include <erl_nif.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/handles/error.hpp"
#include "core/handles/scalar.hpp"
#include "nif/terms/atoms.hpp"

namespace mlx_nif {

// `decode<T>` throws an ArgumentError that says what was expected and what came.
template <typename T>
struct Decoder;

template <typename T>
T decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  return Decoder<T>::decode(env, term);
}

[[noreturn]] void expected(ErlNifEnv* env, const char* what, ERL_NIF_TERM term);

// The same where an array is expected; says how to come by one.
[[noreturn]] void expected_array(ErlNifEnv* env, const char* what, ERL_NIF_TERM term);

inline bool is_nil(ERL_NIF_TERM term) {
  return enif_is_identical(term, atoms.nil) != 0;
}

// Its bytes are there for the length of the call.
ErlNifBinary decode_binary(ErlNifEnv* env, ERL_NIF_TERM term);

ERL_NIF_TERM make_binary(ErlNifEnv* env, std::string_view bytes);
ERL_NIF_TERM make_boolean(bool value);
// With :nan, :infinity and :neg_infinity for what the VM's floats cannot be.
ERL_NIF_TERM make_float(ErlNifEnv* env, double value);
ERL_NIF_TERM make_map(ErlNifEnv* env, std::vector<ERL_NIF_TERM> keys, std::vector<ERL_NIF_TERM> values);

ERL_NIF_TERM type_atom(mlx_dtype type);

// A number, a boolean, :nan, :infinity, :neg_infinity, or {real, imaginary}.
std::optional<Scalar> find_scalar(ErlNifEnv* env, ERL_NIF_TERM term);

// Longer lists are for a dirty scheduler.
constexpr unsigned most_elements_inline = 1000;

// Calls `visit(element)` for each element of a list or tuple.
template <typename Visit>
void for_each_element(ErlNifEnv* env, ERL_NIF_TERM term, const Visit& visit) {
  int arity = 0;
  const ERL_NIF_TERM* elements = nullptr;
  if (enif_get_tuple(env, term, &arity, &elements) != 0) {
    std::for_each(elements, elements + arity, visit);
    return;
  }
  unsigned length = 0;
  if (enif_get_list_length(env, term, &length) == 0) {
    expected(env, "a list or tuple", term);
  }
  if (length > most_elements_inline && enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER) {
    throw NeedsDirtyScheduler();
  }
  ERL_NIF_TERM head;
  while (enif_get_list_cell(env, term, &head, &term) != 0) {
    visit(head);
  }
}

// The elements of a tuple of that size.
template <std::size_t count>
std::array<ERL_NIF_TERM, count> elements(ErlNifEnv* env, ERL_NIF_TERM term) {
  int arity = 0;
  const ERL_NIF_TERM* terms = nullptr;
  if (enif_get_tuple(env, term, &arity, &terms) == 0 || arity != count) {
    expected(env, ("a tuple of " + std::to_string(count) + " elements").c_str(), term);
  }
  std::array<ERL_NIF_TERM, count> result;
  std::copy_n(terms, count, result.begin());
  return result;
}

template <>
struct Decoder<bool> {
  static bool decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

template <>
struct Decoder<int> {
  static int decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

template <>
struct Decoder<std::int64_t> {
  static std::int64_t decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

// `size_t` and `uint64_t`, which are one type on Linux and two on macOS.
template <typename T>
  requires(std::is_same_v<T, unsigned long> || std::is_same_v<T, unsigned long long>)
struct Decoder<T> {
  static T decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    ErlNifUInt64 value = 0;
    if (enif_get_uint64(env, term, &value) == 0) {
      expected(env, "a non-negative integer of 64 bits", term);
    }
    return value;
  }
};

template <>
struct Decoder<double> {
  static double decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

template <>
struct Decoder<float> {
  static float decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    return static_cast<float>(Decoder<double>::decode(env, term));
  }
};

// A binary, or an atom by its name; without zero bytes, which would end the string early in C.
template <>
struct Decoder<std::string> {
  static std::string decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

template <>
struct Decoder<mlx_dtype> {
  static mlx_dtype decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

template <>
struct Decoder<mlx_fft_norm> {
  static mlx_fft_norm decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

template <>
struct Decoder<mlx_device_type> {
  static mlx_device_type decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

// The C structs of an optional value: `has_value`, and the value.
template <typename Optional>
  requires requires(Optional optional) {
    optional.value;
    optional.has_value;
  }
struct Decoder<Optional> {
  static Optional decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    Optional optional{};
    if (!is_nil(term)) {
      optional.value = mlx_nif::decode<decltype(optional.value)>(env, term);
      optional.has_value = true;
    }
    return optional;
  }
};

template <typename Element>
struct Decoder<std::vector<Element>> {
  static std::vector<Element> decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    std::vector<Element> elements;
    for_each_element(env, term,
                     [&](ERL_NIF_TERM element) { elements.push_back(mlx_nif::decode<Element>(env, element)); });
    return elements;
  }
};

}  // namespace mlx_nif
