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

#include "core/array/graph_lock.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/small_vector.hpp"
#include "core/memory/array_limit.hpp"
#include "core/recording/program.hpp"
#include "core/recording/tracing.hpp"
#include "nif/calls/call.hpp"
#include "nif/functions/encoder.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/terms/term.hpp"

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

// The arrays that an operation is applied to, one after another.
class Inputs {
 public:
  explicit Inputs(std::span<const mlx_array> arrays) : arrays_(arrays) {}

  mlx_array next() { return next(1).front(); }
  std::span<const mlx_array> next(std::size_t count) {
    const auto arrays = arrays_.first(count);
    arrays_ = arrays_.subspan(count);
    return arrays;
  }

 private:
  std::span<const mlx_array> arrays_;
};

// One Elixir argument. `decode` owns what it needs, so that an operation's arguments are a value of their own. `native`
// is what the C function takes for it, one C argument or two; it does not take an array from the operands, but from
// what the operation is applied to this time. `forget_operands` leaves what a tape keeps.

struct ArrayArgument {
  Operand operand;
  static ArrayArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) { return {Operand::decode(env, term)}; }
  void forget_operands() { operand = {}; }
  auto native(Inputs& inputs) const { return std::tuple(inputs.next()); }
};

struct ArraysArgument {
  Operands operands;
  std::size_t count;
  static ArraysArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    auto operands = Operands::decode(env, term);
    const std::size_t count = operands.all().size();
    return {std::move(operands), count};
  }
  void forget_operands() { operands = {}; }
  auto native(Inputs& inputs) const { return std::tuple(vector_of(inputs.next(count))); }
};

template <typename T>
struct ValueArgument {
  T value;
  static ValueArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) { return {mlx_nif::decode<T>(env, term)}; }
  void forget_operands() {}
  auto native(Inputs&) const { return std::tuple(value); }
};

struct StringArgument {
  std::string value;
  static StringArgument decode(ErlNifEnv* env, ERL_NIF_TERM term) { return {mlx_nif::decode<std::string>(env, term)}; }
  void forget_operands() {}
  auto native(Inputs&) const { return std::tuple(value.c_str()); }
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
  void forget_operands() {}
  auto native(Inputs&) const {
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

// Calls `visit(operand)` for each array, and for each of a list of arrays.
template <typename Arguments, typename Visit>
void for_each_operand(Arguments& arguments, const Visit& visit) {
  for_each_argument(arguments, [&](auto& argument) {
    using Argument = std::remove_cvref_t<decltype(argument)>;
    if constexpr (std::is_same_v<Argument, ArrayArgument>) {
      visit(argument.operand);
    } else if constexpr (std::is_same_v<Argument, ArraysArgument>) {
      for (auto& operand : argument.operands.all()) {
        visit(operand);
      }
    }
  });
}

template <Traits traits, typename Arguments>
void materialize_numbers(Arguments& arguments) {
  bool any = false;
  for_each_operand(arguments, [&](const Operand& operand) { any |= operand.is_number(); });
  if (!any) {
    return;
  }
  std::optional<mlx_dtype> peer;
  int index = 0;
  for_each_operand(arguments, [&](const Operand& operand) {
    if (index++ >= traits.weak_from && operand.array() != nullptr && !peer) {
      peer = mlx_array_dtype(operand.array()->get());
    }
  });
  index = 0;
  for_each_operand(arguments,
                   [&](Operand& operand) { operand.materialize(index++ >= traits.weak_from ? peer : std::nullopt); });
}

template <typename Arguments>
void require_key(Arguments& arguments) {
  const Operand* last = nullptr;
  for_each_operand(arguments, [&](const Operand& operand) { last = &operand; });
  if (last == nullptr || last->array() == nullptr) {
    throw ArgumentError("expected a key, an Mlx.Array made by Mlx.Random.key/1");
  }
}

// The arrays among the operands. Few operations take lists, and those may be long.
template <typename Arguments>
SmallVector<Array*, 8> arrays_of(Arguments& arguments) {
  SmallVector<Array*, 8> arrays;
  for_each_operand(arguments, [&](const Operand& operand) {
    if (operand.array() != nullptr) {
      arrays.push_back(operand.array());
    }
  });
  return arrays;
}

// Under the locks of the graphs.
template <typename Arguments>
SmallVector<mlx_array, 8> inputs_of(Arguments& arguments) {
  SmallVector<mlx_array, 8> inputs;
  for_each_operand(arguments, [&](const Operand& operand) { inputs.push_back(operand.get()); });
  return inputs;
}

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

// What mlx-c takes for an argument.
template <typename Value>
const Value& raw(const Value& value) {
  return value;
}
inline mlx_vector_array raw(const ArrayVectorHandle& arrays) {
  return arrays.get();
}

inline void append(std::vector<ArrayHandle>& results, ArrayHandle& result) {
  repair(result);
  results.push_back(std::move(result));
}

inline void append(std::vector<ArrayHandle>& results, ArrayVectorHandle& arrays) {
  const std::size_t first = results.size();
  append_all(results, arrays.get());
  std::for_each(results.begin() + static_cast<std::ptrdiff_t>(first), results.end(), repair);
}

// Applies an mlx-c function; the results are those of its signature.
template <auto function, typename Arguments>
auto apply(const Arguments& arguments, std::span<const mlx_array> arrays) {
  Inputs inputs(arrays);
  typename Signature<decltype(function)>::results results;
  const auto outputs = std::apply([](auto&... result) { return std::tuple(result.out()...); }, results);
  // Braces keep the order of evaluation.
  const auto natives = std::apply(
      [&](const auto&... argument) {
        return std::tuple<decltype(argument.native(inputs))...>{argument.native(inputs)...};
      },
      arguments);
  const auto flat = std::apply(
      [](const auto&... native) {
        return std::tuple_cat(std::apply([](const auto&... part) { return std::tuple(raw(part)...); }, native)...);
      },
      natives);
  check(std::apply(function, std::tuple_cat(outputs, flat)));
  return results;
}

// An operation as a tape keeps it.
template <auto function, typename Arguments>
class Operation final : public Instruction {
 public:
  Operation(Arguments arguments, InstructionTraits traits) : arguments_(std::move(arguments)), traits_(traits) {}

  InstructionTraits traits() const override { return traits_; }

  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    auto made = apply<function>(arguments_, inputs);
    std::apply([&](auto&... result) { (append(results, result), ...); }, made);
  }

 private:
  const Arguments arguments_;
  const InstructionTraits traits_;
};

// The registers of an operation's operands on a tape.
template <typename Arguments>
std::vector<Register> registers_of(Tape& tape, Arguments& arguments) {
  std::vector<Register> registers;
  for_each_operand(arguments, [&](Operand& operand) { registers.push_back(record_operand(tape, operand)); });
  return registers;
}

inline std::size_t count(const ArrayHandle&) {
  return 1;
}
inline std::size_t count(const ArrayVectorHandle& arrays) {
  return mlx_vector_array_size(arrays.get());
}

inline std::uint64_t largest(const ArrayHandle& result) {
  return size_in_bytes(result.get());
}
inline std::uint64_t largest(const ArrayVectorHandle& arrays) {
  std::vector<ArrayHandle> results;
  append_all(results, arrays.get());
  std::uint64_t bytes = 0;
  for (const ArrayHandle& result : results) {
    bytes = std::max(bytes, size_in_bytes(result.get()));
  }
  return bytes;
}

template <typename Results>
ERL_NIF_TERM encode_results(ErlNifEnv* env, Encoder& encoder, Results& results) {
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

// Appends the operation to a tape, and leaves the arguments without operands.
template <auto function, Traits traits, typename Arguments, typename Results>
Register record(Tape& tape, Arguments& arguments, const Results& results) {
  const bool uses_cpu = device_of(stream_of(arguments)) == MLX_CPU;
  std::vector<Register> registers = registers_of(tape, arguments);
  for_each_argument(arguments, [](auto& argument) { argument.forget_operands(); });
  const std::size_t result_count = std::apply([](const auto&... result) { return (count(result) + ...); }, results);
  InstructionTraits step{.fallible = traits.fallible, .uses_cpu = uses_cpu};
  if (!traits.view) {
    step.largest_result = std::apply([](const auto&... result) { return std::max({largest(result)...}); }, results);
  }
  return tape.add_step(std::make_shared<const Operation<function, Arguments>>(std::move(arguments), step),
                       std::move(registers), result_count);
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
  const auto arrays = arrays_of(arguments);
  Tape* const tape = innermost_tape(arrays.all());
  GraphLock lock(arrays.all(), on_dirty_scheduler);
  NodeTraits result_traits{.fallible = traits.fallible};
  for (const Array* array : arrays.all()) {
    inherit(result_traits, *array, tape);
    if (!traits.view && array->oversized()) {
      check_size(array->get());
    }
  }
  auto results = apply<function>(arguments, inputs_of(arguments).all());
  Encoder encoder(env, lock.join(), stream_of(arguments), result_traits, traits.view);
  if (tape != nullptr) {
    encoder.trace(*tape, record<function, traits>(*tape, arguments, results));
  }
  return encode_results(env, encoder, results);
}

}  // namespace detail

// The native function `name` that applies an mlx-c operation.
template <Name name, auto function, Traits traits = Traits{}>
ErlNifFunc operation() {
  using Arguments = typename detail::Signature<decltype(function)>::arguments;
  return {name.text, std::tuple_size_v<Arguments>, native<name, detail::run<function, traits>>, 0};
}

}  // namespace mlx_nif
