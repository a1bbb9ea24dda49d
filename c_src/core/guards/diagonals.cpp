// Chooses between the padded numbers and zero by a diagonal of booleans.
#include "core/guards/diagonals.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "core/handles/arguments.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/handle.hpp"
#include "core/handles/scalar.hpp"

namespace mlx_nif::guarded {
namespace {

bool has_64_bits(mlx_dtype type) {
  return mlx_dtype_size(type) == 8;
}

// The elements in a line of the length, from the position on, and zeros around them.
ArrayHandle padded(mlx_array line, int position, int length, mlx_stream s) {
  const int axis = 0;
  const int rest = length - position - shape_of(line)[0];
  const ArrayHandle zero = make_scalar(Scalar(false), mlx_array_dtype(line));
  return apply(mlx_pad, line, &axis, 1, &position, 1, &rest, 1, zero.get(), "constant", s);
}

}  // namespace

int eye(mlx_array* result, int n, int m, int k, mlx_dtype type, mlx_stream s) {
  if (!has_64_bits(type)) {
    return mlx_eye(result, n, m, k, type, s);
  }
  const ArrayHandle places = apply(mlx_eye, n, m, k, MLX_BOOL, s);
  return mlx_astype(result, places.get(), type, s);
}

int identity(mlx_array* result, int n, mlx_dtype type, mlx_stream s) {
  return eye(result, n, n, 0, type, s);
}

int diag(mlx_array* result, mlx_array a, int k, mlx_stream s) {
  require_all({a});
  const auto shape = shape_of(a);
  if (shape.size() != 1 || !has_64_bits(mlx_array_dtype(a))) {
    return mlx_diag(result, a, k, s);
  }
  const std::int64_t wanted = shape[0] + std::abs(static_cast<std::int64_t>(k));
  if (wanted > std::numeric_limits<int>::max()) {
    return mlx_diag(result, a, k, s);
  }
  const int size = static_cast<int>(wanted);
  const ArrayHandle places = apply(mlx_eye, size, size, k, MLX_BOOL, s);
  const ArrayHandle row = padded(a, std::max(0, k), size, s);
  const ArrayHandle zero = make_scalar(Scalar(false), mlx_array_dtype(a));
  return mlx_where(result, places.get(), row.get(), zero.get(), s);
}

}  // namespace mlx_nif::guarded
