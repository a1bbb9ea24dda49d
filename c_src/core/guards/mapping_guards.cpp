// Asks whether a program is mapped, and if so makes the result of operations that MLX maps rightly.
#include "core/guards/mapping_guards.hpp"

#include <algorithm>
#include <vector>

#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/scalar.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif::guarded {
namespace {

// Both operands, each mapped and of the common shape if one of them is.
template <auto function>
int mapped_together(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  if (!mapping()) {
    return function(result, a, b, s);
  }
  const ArrayHandle never = make_scalar(Scalar(false), MLX_BOOL);
  const ArrayHandle left = apply(mlx_where, never.get(), b, a, s);
  const ArrayHandle right = apply(mlx_where, never.get(), a, b, s);
  return function(result, left.get(), right.get(), s);
}

ArrayHandle triangle(mlx_array a, bool upper, mlx_stream s) {
  require_all({a});
  return mapping() && mlx_array_ndim(a) >= 2 ? apply(upper ? mlx_triu : mlx_tril, a, 0, s) : share(a);
}

template <auto of_all, auto along_axis>
int place_of_all(mlx_array* result, mlx_array a, bool keep_axes, mlx_stream s) {
  require_all({a});
  if (!mapping() || !keep_axes) {
    return of_all(result, a, keep_axes, s);
  }
  const ArrayHandle flat = apply(mlx_flatten, a, 0, -1, s);
  const ArrayHandle place = apply(along_axis, flat.get(), 0, true, s);
  const std::vector<int> ones(mlx_array_ndim(a), 1);
  return mlx_reshape(result, place.get(), ones.data(), ones.size(), s);
}

}  // namespace

int logical_xor(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  const ArrayHandle left = apply(mlx_astype, a, MLX_BOOL, s);
  const ArrayHandle right = apply(mlx_astype, b, MLX_BOOL, s);
  return mapping() ? not_equal(result, left.get(), right.get(), s) : mlx_logical_xor(result, a, b, s);
}

int array_equal(mlx_array* result, mlx_array a, mlx_array b, bool equal_nan, mlx_stream s) {
  require_all({a, b});
  if (!mapping() || !equal_nan || !std::ranges::equal(shape_of(a), shape_of(b))) {
    return mlx_array_equal(result, a, b, equal_nan, s);
  }
  const ArrayHandle equal = apply(mlx_equal, a, b, s);
  const ArrayHandle both_nan = apply(mlx_logical_and, apply(mlx_isnan, a, s).get(), apply(mlx_isnan, b, s).get(), s);
  return mlx_all(result, apply(mlx_logical_or, equal.get(), both_nan.get(), s).get(), false, s);
}

int argmax(mlx_array* result, mlx_array a, bool keep_axes, mlx_stream s) {
  return place_of_all<mlx_argmax, mlx_argmax_axis>(result, a, keep_axes, s);
}

int argmin(mlx_array* result, mlx_array a, bool keep_axes, mlx_stream s) {
  return place_of_all<mlx_argmin, mlx_argmin_axis>(result, a, keep_axes, s);
}

int not_equal(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  if (!mapping()) {
    return mlx_not_equal(result, a, b, s);
  }
  return mlx_logical_not(result, apply(mlx_equal, a, b, s).get(), s);
}

int bitwise_and(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_bitwise_and>(result, a, b, s);
}

int bitwise_or(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_bitwise_or>(result, a, b, s);
}

int bitwise_xor(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  // For booleans, MLX's own returns `a` when it may reuse its memory: the CPU then computes `a ^ b ^ b` in place.
  const bool booleans = mlx_array_dtype(a) == MLX_BOOL && mlx_array_dtype(b) == MLX_BOOL;
  return booleans ? not_equal(result, a, b, s) : mapped_together<mlx_bitwise_xor>(result, a, b, s);
}

int left_shift(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_left_shift>(result, a, b, s);
}

int right_shift(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_right_shift>(result, a, b, s);
}

int linalg_tri_inv(mlx_array* result, mlx_array a, bool upper, mlx_stream s) {
  return mlx_linalg_tri_inv(result, triangle(a, upper, s).get(), upper, s);
}

int linalg_cholesky_inv(mlx_array* result, mlx_array a, bool upper, mlx_stream s) {
  return mlx_linalg_cholesky_inv(result, triangle(a, upper, s).get(), upper, s);
}

int linalg_solve_triangular(mlx_array* result, mlx_array a, mlx_array b, bool upper, mlx_stream s) {
  return mlx_linalg_solve_triangular(result, triangle(a, upper, s).get(), b, upper, s);
}

}  // namespace mlx_nif::guarded
