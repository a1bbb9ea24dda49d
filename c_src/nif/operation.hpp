// Derives a native function from the signature of an mlx-c operation.
#pragma once

#include <erl_nif.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/argument_guards.hpp"
#include "core/graph_lock.hpp"
#include "core/limits.hpp"
#include "core/small_vector.hpp"
#include "nif/arrays.hpp"
#include "nif/call.hpp"
#include "nif/term.hpp"

namespace mlx_nif {

// What a signature does not tell.
struct Traits {
  // Numbers from this argument on take their type from the first array from there on, as in Python MLX.
  int weak_from = 1000;
  // The results share memory with the inputs, so that their size costs nothing.
  bool view = false;
  // The computation can fail after it was scheduled.
  bool fallible = false;
  // MLX would take a missing key from a state of the thread; here the key is always given.
  bool keyed = false;
};

inline constexpr Traits weak{.weak_from = 0};
inline constexpr Traits view{.view = true};
inline constexpr Traits fallible{.fallible = true};
inline constexpr Traits keyed{.keyed = true};

namespace detail {

// One Elixir argument: `decode` owns what it needs, so that an operation's arguments are a value of their own; `native`
// is what the C function takes for it, one C argument or two. `prepare` runs under the locks of the graphs.

struct ArrayArgument {
  Operand operand;
  static ArrayArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) { return {Operand::decode(env, term)}; }
  void prepare() {}
  auto native() const { return std::tuple(operand.get()); }
};

struct ArraysArgument {
  Operands operands;
  ArrayVectorHandle vector;
  static ArraysArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) { return {Operands::decode(env, term), {}}; }
  void prepare() { vector = operands.vector(); }
  auto native() const { return std::tuple(vector.get()); }
};

template <typename T>
struct ValueArgument {
  T value;
  static ValueArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) { return {mlx_nif::decode<T>(env, term)}; }
  void prepare() {}
  auto native() const { return std::tuple(value); }
};

struct StringArgument {
  std::string value;
  static StringArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) { return {mlx_nif::decode<std::string>(env, term)}; }
  void prepare() {}
  auto native() const { return std::tuple(value.c_str()); }
};

// A pointer and a size in C; nil is the null pointer, which C functions with an optional list take.
template <typename Element>
struct ListArgument {
  std::optional<std::vector<Element>> values;
  static ListArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    if (is_nil(term)) {
      return {};
    }
    ListArgument argument{mlx_nif::decode<std::vector<Element>>(env, term)};
    // A null pointer would mean that there is no list.
    argument.values->reserve(1);
    return argument;
  }
  void prepare() {}
  auto native() const {
    const Element* data = values ? values->data() : nullptr;
    return std::tuple(data, values ? values->size() : std::size_t{0});
  }
};

template <typename T>
struct ArgumentOf {
  using type = ValueArgument<T>;
};
template <>
struct ArgumentOf<mlx_array> {
  using type = ArrayArgument;
};
template <>
struct ArgumentOf<mlx_vector_array> {
  using type = ArraysArgument;
};
template <>
struct ArgumentOf<const char*> {
  using type = StringArgument;
};

// The arguments of C parameters.
template <typename... Parameters>
struct ArgumentsOf;
template <>
struct ArgumentsOf<> {
  using type = std::tuple<>;
};
template <typename First, typename... Rest>
struct ArgumentsOf<First, Rest...> {
  using type = decltype(std::tuple_cat(std::declval<std::tuple<typename ArgumentOf<First>::type>>(),
                                       std::declval<typename ArgumentsOf<Rest...>::type>()));
};
template <typename Element, typename... Rest>
struct ArgumentsOf<const Element*, std::size_t, Rest...> {
  using type = decltype(std::tuple_cat(std::declval<std::tuple<ListArgument<Element>>>(),
                                       std::declval<typename ArgumentsOf<Rest...>::type>()));
};

// The results that C parameters point to come first.
template <typename Results, typename... Parameters>
struct SignatureOf {
  using results = Results;
  using arguments = typename ArgumentsOf<Parameters...>::type;
};
template <typename... Results, typename... Rest>
struct SignatureOf<std::tuple<Results...>, mlx_array*, Rest...>
    : SignatureOf<std::tuple<Results..., ArrayHandle>, Rest...> {};
template <typename... Results, typename... Rest>
struct SignatureOf<std::tuple<Results...>, mlx_vector_array*, Rest...>
    : SignatureOf<std::tuple<Results..., ArrayVectorHandle>, Rest...> {};

template <typename Function>
struct Signature;
template <typename... Parameters>
struct Signature<int (*)(Parameters...)> : SignatureOf<std::tuple<>, Parameters...> {};

template <typename Arguments, std::size_t... Index>
Arguments decode_arguments(ErlNifEnv* env, const ERL_NIF_TERM argv[], std::index_sequence<Index...>) {
  // Braces keep the order of evaluation.
  return Arguments{std::tuple_element_t<Index, Arguments>::decode(env, argv[Index])...};
}

template <typename Arguments, typename Visit>
void for_each_argument(Arguments& arguments, const Visit& visit) {
  std::apply([&](auto&... argument) { (visit(argument), ...); }, arguments);
}

// Calls `visit(operand, index)` for each array operand.
template <typename Arguments, typename Visit>
void for_each_operand(Arguments& arguments, const Visit& visit) {
  int index = 0;
  for_each_argument(arguments, [&](auto& argument) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(argument)>, ArrayArgument>) {
      visit(argument.operand, index);
    }
    ++index;
  });
}

template <Traits traits, typename Arguments>
void materialize_numbers(Arguments& arguments) {
  bool any = false;
  for_each_operand(arguments, [&](const Operand& operand, int) { any |= operand.is_number(); });
  if (!any) {
    return;
  }
  std::optional<mlx_dtype> peer;
  for_each_operand(arguments, [&](const Operand& operand, int index) {
    if (index >= traits.weak_from && operand.array() != nullptr && !peer) {
      peer = mlx_array_dtype(operand.array()->get());
    }
  });
  for_each_operand(arguments, [&](Operand& operand, int index) {
    operand.materialize(index >= traits.weak_from ? peer : std::nullopt);
  });
}

template <typename Arguments>
void require_key(Arguments& arguments) {
  const Operand* last = nullptr;
  for_each_operand(arguments, [&](const Operand& operand, int) { last = &operand; });
  if (last == nullptr || last->array() == nullptr) {
    throw ArgumentError("expected a key, an Mlx.Array made by Mlx.Random.key/1");
  }
}

// The arrays among the arguments. Few operations take lists, and those may be long.
class ArraysOf {
 public:
  template <typename Arguments>
  explicit ArraysOf(const Arguments& arguments) {
    for_each_argument(arguments, [this](const auto& argument) {
      using Argument = std::remove_cvref_t<decltype(argument)>;
      if constexpr (std::is_same_v<Argument, ArrayArgument>) {
        add(argument.operand.array());
      } else if constexpr (std::is_same_v<Argument, ArraysArgument>) {
        for (const Operand& operand : argument.operands.all()) {
          add(operand.array());
        }
      }
    });
  }

  std::span<Array* const> all() const { return arrays_.all(); }

 private:
  void add(Array* array) {
    if (array != nullptr) {
      arrays_.push_back(array);
    }
  }

  SmallVector<Array*, 8> arrays_;
};

template <typename Arguments>
mlx_stream stream_of(const Arguments& arguments) {
  mlx_stream stream = Streams::instance().default_stream();
  for_each_argument(arguments, [&](const auto& argument) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(argument)>, ValueArgument<mlx_stream>>) {
      stream = argument.value;
    }
  });
  return stream;
}

// Makes the terms of an operation's results.
class Encoder {
 public:
  Encoder(ErlNifEnv* env, const std::shared_ptr<Graph>& graph, mlx_stream stream, Traits traits)
      : env_(env), graph_(graph), stream_(stream), traits_(traits) {}

  ERL_NIF_TERM encode(ArrayHandle& array) const {
    if (has_no_elements(array.get())) {
      array = without_elements(array.get());
    }
    const bool oversized = is_oversized(array.get());
    if (oversized && !traits_.view) {
      check_size(array.get());
    }
    graph_->add_node();
    return make_array(env_, std::move(array), graph_, stream_, {.oversized = oversized, .fallible = traits_.fallible});
  }

  ERL_NIF_TERM encode(ArrayVectorHandle& arrays) const {
    std::vector<ERL_NIF_TERM> terms(mlx_vector_array_size(arrays.get()));
    for (std::size_t index = 0; index < terms.size(); ++index) {
      ArrayHandle array;
      check(mlx_vector_array_get(array.out(), arrays.get(), index));
      terms[index] = encode(array);
    }
    return enif_make_list_from_array(env_, terms.data(), static_cast<unsigned>(terms.size()));
  }

 private:
  ErlNifEnv* env_;
  const std::shared_ptr<Graph>& graph_;
  mlx_stream stream_;
  Traits traits_;
};

template <typename Results>
ERL_NIF_TERM encode_results(ErlNifEnv* env, const Encoder& encoder, Results& results) {
  return std::apply(
      [&](auto&... result) {
        if constexpr (sizeof...(result) == 1) {
          return (encoder.encode(result), ...);
        } else {
          const std::array terms{encoder.encode(result)...};
          return enif_make_tuple_from_array(env, terms.data(), terms.size());
        }
      },
      results);
}

inline bool on_dirty_scheduler() {
  return !on_normal_scheduler();
}

template <auto function, Traits traits>
ERL_NIF_TERM run(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  using OperationSignature = Signature<decltype(function)>;
  using Arguments = typename OperationSignature::arguments;
  auto arguments = decode_arguments<Arguments>(env, argv, std::make_index_sequence<std::tuple_size_v<Arguments>>());
  if constexpr (traits.keyed) {
    require_key(arguments);
  }
  materialize_numbers<traits>(arguments);
  const ArraysOf arrays(arguments);
  GraphLock lock(arrays.all(), on_dirty_scheduler);
  if constexpr (!traits.view) {
    for (const Array* array : arrays.all()) {
      if (array->oversized()) {
        check_size(array->get());
      }
    }
  }
  for_each_argument(arguments, [](auto& argument) { argument.prepare(); });
  typename OperationSignature::results results;
  const auto outputs = std::apply([](auto&... result) { return std::tuple(result.out()...); }, results);
  const auto inputs =
      std::apply([](const auto&... argument) { return std::tuple_cat(argument.native()...); }, arguments);
  check(std::apply(function, std::tuple_cat(outputs, inputs)));
  Traits result_traits = traits;
  result_traits.fallible |=
      std::ranges::any_of(arrays.all(), [](const Array* array) { return array->fallible() && !array->settled(); });
  return encode_results(env, Encoder(env, lock.join(), stream_of(arguments), result_traits), results);
}

}  // namespace detail

// The native function `name` that applies an mlx-c operation.
template <Name name, auto function, Traits traits = Traits{}>
ErlNifFunc operation() {
  using Arguments = typename detail::Signature<decltype(function)>::arguments;
  return {name.text, std::tuple_size_v<Arguments>, native<name, detail::run<function, traits>>, 0};
}

}  // namespace mlx_nif
