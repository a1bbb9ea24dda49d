// Compiled functions, and calls of them.
#include "core/transforms/compilation.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <vector>

#include "core/handles/error.hpp"
#include "core/recording/tracing.hpp"
#include "nif/functions/function.hpp"
#include "nif/functions/instruction_call.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

constexpr const char* compiled_expected = "a compiled function";
constexpr const char* cache_expected = "a cache";

// What fails is told of as a failure of the compiled function.
template <typename Call>
ERL_NIF_TERM as_compiled(const Call& call) {
  try {
    return call();
  } catch (const NeedsDirtyScheduler&) {
    throw;
  } catch (...) {
    throw ErrorOf{"Mlx.compile", std::current_exception()};
  }
}

// The last argument: the same function compiled for other arguments, the latest first.
ERL_NIF_TERM compile(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  std::vector<CompiledFunction::NumbersPointer> former_numbers;
  for_each_element(env, argv[2], [&](ERL_NIF_TERM former) {
    former_numbers.push_back(decode_resource<CompiledResource>(env, former, compiled_expected).function->numbers());
  });
  return Resource<CompiledResource>::make(
      env, std::make_shared<CompiledFunction>(decode<std::shared_ptr<const Program>>(env, argv[0]),
                                              decode<bool>(env, argv[1]), 0, std::move(former_numbers)));
}

// The results of a compiled function for a list of arrays.
ERL_NIF_TERM call_compiled(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto& compiled = decode_resource<CompiledResource>(env, argv[0], compiled_expected);
  return as_compiled([&] {
    const PinnedArrays operands(env, argv[1]);
    const auto results = call_instruction(env, compiled.function, operands.all());
    return enif_make_list_from_array(env, results.data(), static_cast<unsigned>(results.size()));
  });
}

// For so many entries of a group. The second argument: whether all are one group.
ERL_NIF_TERM cache_new(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto most = decode<std::size_t>(env, argv[0]);
  if (most == 0) {
    throw ArgumentError("expected a cache of at least one term");
  }
  return Resource<CompiledCalls>::make(env, most, decode<bool>(env, argv[1]));
}

ERL_NIF_TERM cache_latest(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  std::vector<ERL_NIF_TERM> values;
  for (const auto& call : decode_resource<CompiledCalls>(env, argv[0], cache_expected).latest()) {
    values.push_back(call->copy_value(env));
  }
  return enif_make_list_from_array(env, values.data(), static_cast<unsigned>(values.size()));
}

ERL_NIF_TERM cache_insert(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  auto& cache = decode_resource<CompiledCalls>(env, argv[0], cache_expected);
  const bool shapeless = decode<bool>(env, argv[2]);
  return as_compiled([&] {
    const FlatContainer arguments(env, argv[1], shapeless);
    if (arguments.is_ordered()) {
      cache.insert(arguments, argv[3]);
    }
    return atoms.ok;
  });
}

// {:ok, result, whether it is traced} for a container of arguments; what the cache has for them where it is no compiled
// function; or nil.
ERL_NIF_TERM cache_call(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  auto& cache = decode_resource<CompiledCalls>(env, argv[0], cache_expected);
  const bool shapeless = decode<bool>(env, argv[2]);
  return as_compiled([&] {
    const TimeSlice slice(env);
    const FlatContainer arguments(env, argv[1], shapeless);
    const auto call = arguments.is_ordered() ? cache.find(arguments) : nullptr;
    if (call == nullptr) {
      return atoms.nil;
    }
    if (call->function() == nullptr) {
      return call->copy_value(env);
    }
    std::vector<Pin> captured;
    std::vector<Array*> operands(arguments.arrays().begin(), arguments.arrays().end());
    for (Array* array : call->captured()) {
      captured.emplace_back(*array);
      operands.push_back(array);
    }
    // What was compiled copies a graph, which needs no values.
    const auto results = call_instruction(env, call->function(), operands, GraphLock::Promises::left_open);
    if (results.size() != call->result().array_count()) {
      throw ArgumentError("expected a result with as many arrays as the function gives");
    }
    return enif_make_tuple3(env, atoms.ok, call->result().fill(env, results),
                            make_boolean(innermost_tape(operands) != nullptr));
  });
}

}  // namespace

std::vector<ErlNifFunc> compilation_functions() {
  return {
      function<"compile", 3, compile>(),           function<"call_compiled", 2, call_compiled>(),
      function<"cache_new", 2, cache_new>(),       function<"cache_call", 3, cache_call>(),
      function<"cache_latest", 1, cache_latest>(), function<"cache_insert", 4, cache_insert>(),
  };
}

}  // namespace mlx_nif
