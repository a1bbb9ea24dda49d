// Where the elements of an array lie in memory.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

// Where each row along the last axis of an array begins, in elements from the first one. The array has an axis.
inline std::vector<std::ptrdiff_t> beginnings_of_rows(const mlx::core::array& x) {
  std::vector<std::ptrdiff_t> beginnings{0};
  for (std::size_t axis = 0; axis + 1 < x.ndim(); ++axis) {
    std::vector<std::ptrdiff_t> inner;
    inner.reserve(beginnings.size() * x.shape(axis));
    for (const std::ptrdiff_t outer : beginnings) {
      for (int index = 0; index < x.shape(axis); ++index) {
        inner.push_back(outer + index * static_cast<std::ptrdiff_t>(x.strides(axis)));
      }
    }
    beginnings = std::move(inner);
  }
  return beginnings;
}

}  // namespace mlx_nif
