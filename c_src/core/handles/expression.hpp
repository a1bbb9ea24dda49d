// Operations of MLX as C++ expressions.
#pragma once

#include <utility>

#include "core/handles/error.hpp"
#include "core/handles/handle.hpp"

namespace mlx_nif {

// The result of an mlx-c function that makes one array: `apply(mlx_add, a, b, stream)`.
template <typename Function, typename... Arguments>
ArrayHandle apply(Function function, Arguments&&... arguments) {
  ArrayHandle result;
  check(function(result.out(), std::forward<Arguments>(arguments)...));
  return result;
}

}  // namespace mlx_nif
