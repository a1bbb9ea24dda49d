// What is known of an array without its value.
#pragma once

#include <mlx/c/mlx.h>

#include <vector>

#include "core/handles/arguments.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/scalar.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {

struct ArrayKind {
  std::vector<int> shape;
  mlx_dtype type;

  bool operator==(const ArrayKind&) const = default;
};

inline ArrayKind kind_of(mlx_array array) {
  const auto shape = shape_of(array);
  return {{shape.begin(), shape.end()}, mlx_array_dtype(array)};
}

// An array of that kind, which takes no memory.
inline ArrayHandle placeholder_of(const ArrayKind& kind) {
  const mlx_stream stream = Streams::instance().default_stream(kind.type);
  const ArrayHandle zero = make_scalar(Scalar(false), kind.type);
  return apply(mlx_broadcast_to, zero.get(), kind.shape.data(), kind.shape.size(), stream);
}

}  // namespace mlx_nif
