// Rules to map operations by that MLX has none for, or none for some of the arguments.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <functional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/handle.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif {

// What is done where the axes of some inputs are mapped.
struct MappingRule {
  enum class Kind {
    // If no other input is mapped, its mapped axis goes in front: the operation does the same along all leading axes.
    in_front,
    // If the input is not mapped, MLX's own rule holds; for an operation of one result.
    natively,
    // The operation runs for each slice, as it does where neither of the others holds.
    by_slices,
  };
  Kind kind;
  // Counted among the arrays that are given.
  std::size_t input = 0;
};

namespace detail {

using OperationOnArrays = std::function<std::vector<ArrayHandle>(std::span<const mlx_array>)>;

std::vector<ArrayHandle> with_mapping_rule(MappingRule rule, const OperationOnArrays& operation,
                                           std::span<const mlx_array> inputs, mlx_stream);

template <typename Parameter, typename Visit>
void visit_array(Parameter& parameter, const Visit& visit) {
  if constexpr (std::is_same_v<Parameter, mlx_array>) {
    if (parameter.ctx != nullptr) {
      visit(parameter);
    }
  }
}

template <typename... Parameters, typename Visit>
void for_each_array(std::tuple<Parameters...>& parameters, const Visit& visit) {
  std::apply([&](auto&... each) { (visit_array(each, visit), ...); }, parameters);
}

// `call` is the function of mlx-c, without the places for its results, which it returns.
template <typename Call, typename... Parameters>
std::vector<ArrayHandle> with_mapping_rule(MappingRule rule, const Call& call, std::tuple<Parameters...> parameters) {
  std::vector<mlx_array> inputs;
  for_each_array(parameters, [&](mlx_array input) { inputs.push_back(input); });
  const OperationOnArrays operation = [call, parameters](std::span<const mlx_array> arrays) {
    auto replaced = parameters;
    auto next = arrays.begin();
    for_each_array(replaced, [&](mlx_array& input) { input = *next++; });
    return std::apply(call, replaced);
  };
  return with_mapping_rule(rule, operation, inputs, std::get<sizeof...(Parameters) - 1>(parameters));
}

template <auto function, MappingRule rule>
struct Mappable;

template <typename... Parameters, int (*function)(mlx_array*, mlx_array, Parameters...), MappingRule rule>
struct Mappable<function, rule> {
  static int call(mlx_array* result, mlx_array a, Parameters... parameters) {
    if (!mapping()) {
      return function(result, a, parameters...);
    }
    const auto made = [](mlx_array first, Parameters... given) {
      std::vector<ArrayHandle> results(1);
      check(function(results[0].out(), first, given...));
      return results;
    };
    return mlx_array_set(result, with_mapping_rule(rule, made, std::tuple(a, parameters...))[0].get());
  }
};

template <typename... Parameters, int (*function)(mlx_array*, mlx_array*, mlx_array, Parameters...), MappingRule rule>
struct Mappable<function, rule> {
  static int call(mlx_array* first, mlx_array* second, mlx_array a, Parameters... parameters) {
    if (!mapping()) {
      return function(first, second, a, parameters...);
    }
    const auto made = [](mlx_array of, Parameters... given) {
      std::vector<ArrayHandle> results(2);
      check(function(results[0].out(), results[1].out(), of, given...));
      return results;
    };
    const auto results = with_mapping_rule(rule, made, std::tuple(a, parameters...));
    check(mlx_array_set(first, results[0].get()));
    return mlx_array_set(second, results[1].get());
  }
};

template <typename... Parameters, int (*function)(mlx_vector_array*, mlx_array, Parameters...), MappingRule rule>
struct Mappable<function, rule> {
  static int call(mlx_vector_array* results, mlx_array a, Parameters... parameters) {
    if (!mapping()) {
      return function(results, a, parameters...);
    }
    const auto made = [](mlx_array first, Parameters... given) {
      ArrayVectorHandle all;
      check(function(all.out(), first, given...));
      return elements_of(all.get());
    };
    set_all(results, with_mapping_rule(rule, made, std::tuple(a, parameters...)));
    return 0;
  }
};

}  // namespace detail

// The function of mlx-c, with a rule for maps.
template <auto function, std::size_t input = 0>
inline constexpr auto mapped_in_front =
    &detail::Mappable<function, MappingRule{MappingRule::Kind::in_front, input}>::call;
template <auto function, std::size_t input>
inline constexpr auto mapped_natively_but_for =
    &detail::Mappable<function, MappingRule{MappingRule::Kind::natively, input}>::call;
template <auto function>
inline constexpr auto mapped_by_slices = &detail::Mappable<function, MappingRule{MappingRule::Kind::by_slices}>::call;

}  // namespace mlx_nif
