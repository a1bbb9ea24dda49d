// Arguments of operations, for their guards.
#pragma once

#include <mlx/c/mlx.h>

#include <initializer_list>
#include <optional>
#include <span>

#include "core/handles/error.hpp"

namespace mlx_nif {

inline std::span<const int> shape_of(mlx_array a) {
  return {mlx_array_shape(a), mlx_array_ndim(a)};
}

// Throws ArgumentError for a null array.
inline void require_all(std::initializer_list<mlx_array> arrays) {
  for (const mlx_array array : arrays) {
    if (array.ctx == nullptr) {
      throw_nil_operand();
    }
  }
}

// An axis that may be counted from the end, or nothing when the array has none such.
inline std::optional<int> normal_axis(mlx_array a, int axis) {
  const int rank = static_cast<int>(mlx_array_ndim(a));
  if (axis < -rank || axis >= rank) {
    return std::nullopt;
  }
  return axis < 0 ? axis + rank : axis;
}

}  // namespace mlx_nif
