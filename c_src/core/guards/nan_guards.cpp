// Looks for NaN beside the operation, or computes in 32 bits, where MLX keeps it.
#include "core/guards/nan_guards.hpp"

#include <limits>

#include "core/handles/arguments.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/scalar.hpp"

namespace mlx_nif::guarded {
namespace {

bool has_16_bits(mlx_array a) {
  const mlx_dtype type = mlx_array_dtype(a);
  return type == MLX_FLOAT16 || type == MLX_BFLOAT16;
}

// `least(result, a)` is the operation, and `any(result, a)` that which finds whether one of the same elements is true.
template <typename Least, typename Any>
int least_with_nan(mlx_array* result, mlx_array a, mlx_stream s, const Least& least, const Any& any) {
  require_all({a});
  if (mlx_array_dtype(a) != MLX_COMPLEX64) {
    return least(result, a);
  }
  ArrayHandle number;
  ArrayHandle some_nan;
  check(least(number.out(), a));
  check(any(some_nan.out(), apply(mlx_isnan, a, s).get()));
  const ArrayHandle nan = make_scalar(Scalar(std::numeric_limits<double>::quiet_NaN()), MLX_COMPLEX64);
  return mlx_where(result, some_nan.get(), nan.get(), number.get(), s);
}

template <auto function>
int running_extreme_with_nan(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  require_all({a});
  if (!has_16_bits(a)) {
    return function(result, a, axis, reverse, inclusive, s);
  }
  const ArrayHandle wide = apply(mlx_astype, a, MLX_FLOAT32, s);
  const ArrayHandle made = apply(function, wide.get(), axis, reverse, inclusive, s);
  return mlx_astype(result, made.get(), mlx_array_dtype(a), s);
}

}  // namespace

int min(mlx_array* result, mlx_array a, bool keepdims, mlx_stream s) {
  return least_with_nan(
      result, a, s, [&](mlx_array* made, mlx_array of) { return mlx_min(made, of, keepdims, s); },
      [&](mlx_array* made, mlx_array of) { return mlx_any(made, of, keepdims, s); });
}

int min_axis(mlx_array* result, mlx_array a, int axis, bool keepdims, mlx_stream s) {
  return least_with_nan(
      result, a, s, [&](mlx_array* made, mlx_array of) { return mlx_min_axis(made, of, axis, keepdims, s); },
      [&](mlx_array* made, mlx_array of) { return mlx_any_axis(made, of, axis, keepdims, s); });
}

int min_axes(mlx_array* result, mlx_array a, const int* axes, size_t axes_count, bool keepdims, mlx_stream s) {
  return least_with_nan(
      result, a, s,
      [&](mlx_array* made, mlx_array of) { return mlx_min_axes(made, of, axes, axes_count, keepdims, s); },
      [&](mlx_array* made, mlx_array of) { return mlx_any_axes(made, of, axes, axes_count, keepdims, s); });
}

int cummax_axis_with_nan(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_with_nan<mlx_cummax_axis>(result, a, axis, reverse, inclusive, s);
}

int cummin_axis_with_nan(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_with_nan<mlx_cummin_axis>(result, a, axis, reverse, inclusive, s);
}

}  // namespace mlx_nif::guarded
