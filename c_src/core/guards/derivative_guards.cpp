// Makes running extremes and filled arrays of operations whose derivatives are right.
#include "core/guards/derivative_guards.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/guards/nan_guards.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/empty_arrays.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/scalar.hpp"
#include "core/recording/ruled_operation.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif::guarded {
namespace {

namespace mx = mlx::core;

// Elements `start` to `stop` along an axis.
ArrayHandle part(mlx_array a, int axis, int start, int stop, mlx_stream s) {
  const auto shape = shape_of(a);
  std::vector<int> starts(shape.size(), 0);
  std::vector<int> stops(shape.begin(), shape.end());
  const std::vector<int> steps(shape.size(), 1);
  starts[static_cast<std::size_t>(axis)] = start;
  stops[static_cast<std::size_t>(axis)] = stop;
  return apply(mlx_slice, a, starts.data(), starts.size(), stops.data(), stops.size(), steps.data(), steps.size(), s);
}

bool has_nan(mlx_dtype type) {
  switch (type) {
    case MLX_FLOAT16:
    case MLX_BFLOAT16:
    case MLX_FLOAT32:
    case MLX_FLOAT64:
    case MLX_COMPLEX64:
      return true;
    default:
      return false;
  }
}

// The greatest or least elements up to each. Those behind a NaN are NaN.
template <auto function>
ArrayHandle running_extreme(mlx_array a, int axis, bool reverse, mlx_stream s) {
  const mlx_dtype type = mlx_array_dtype(a);
  if (!has_nan(type)) {
    return apply(function, a, axis, reverse, true, s);
  }
  const ArrayHandle nans = apply(mlx_isnan, a, s);
  const ArrayHandle numbers = apply(mlx_where, nans.get(), make_scalar(Scalar(0.0), type).get(), a, s);
  const ArrayHandle extremes = apply(function, numbers.get(), axis, reverse, true, s);
  const ArrayHandle counted = apply(mlx_astype, nans.get(), MLX_INT32, s);
  const ArrayHandle seen = apply(mlx_cummax_axis, counted.get(), axis, reverse, true, s);
  const ArrayHandle behind = apply(mlx_astype, seen.get(), MLX_BOOL, s);
  const ArrayHandle nan = make_scalar(Scalar(std::numeric_limits<double>::quiet_NaN()), type);
  return apply(mlx_where, behind.get(), nan.get(), extremes.get(), s);
}

// Those before each. The first is that of no elements, whatever MLX has for it.
template <auto function>
ArrayHandle running_extreme_before(mlx_array a, int axis, bool reverse, mlx_stream s) {
  const int size = shape_of(a)[static_cast<std::size_t>(axis)];
  const ArrayHandle constant = apply(mlx_stop_gradient, a, s);
  const ArrayHandle before = apply(function, constant.get(), axis, reverse, false, s);
  const ArrayHandle until = running_extreme<function>(a, axis, reverse, s);
  const ArrayHandle first = reverse ? part(before.get(), axis, size - 1, size, s) : part(before.get(), axis, 0, 1, s);
  const ArrayHandle rest = reverse ? part(until.get(), axis, 1, size, s) : part(until.get(), axis, 0, size - 1, s);
  const std::array parts = reverse ? std::array{rest.get(), first.get()} : std::array{first.get(), rest.get()};
  const ArrayVectorHandle both(mlx_vector_array_new_data(parts.data(), parts.size()));
  return apply(mlx_concatenate_axis, both.get(), axis, s);
}

template <auto function>
int running_extreme_along(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  require_all({a});
  const auto normal = normal_axis(a, axis);
  if (!normal || (!differentiating() && mlx_array_dtype(a) != MLX_COMPLEX64)) {
    return function(result, a, axis, reverse, inclusive, s);
  }
  if (has_no_elements(a)) {
    return mlx_stop_gradient(result, a, s);
  }
  const ArrayHandle made = inclusive ? running_extreme<function>(a, *normal, reverse, s)
                                     : running_extreme_before<function>(a, *normal, reverse, s);
  return mlx_array_set(result, made.get());
}

template <auto function>
int running_extreme_of_all(mlx_array* result, mlx_array a, bool reverse, bool inclusive, mlx_stream s) {
  require_all({a});
  const ArrayHandle flat = apply(mlx_flatten, a, 0, -1, s);
  return running_extreme_along<function>(result, flat.get(), 0, reverse, inclusive, s);
}

int spread(mlx_array* result, std::span<const int> shape, mlx_array values, mlx_dtype dtype, mlx_stream s) {
  const ArrayHandle converted = apply(mlx_astype, values, dtype, s);
  return mlx_broadcast_to(result, converted.get(), shape.data(), shape.size(), s);
}

// An array with borders. A value that is transformed is chosen where no element of the array is.
template <auto function, typename... Sizes>
int with_borders(mlx_array* result, mlx_array a, mlx_array value, const char* mode, mlx_stream s, Sizes... sizes) {
  require_all({a, value});
  const bool transformed = (differentiating() || mapping()) && array_of(value).is_tracer();
  if (!transformed || std::string_view(mode) != "constant") {
    return function(result, a, sizes..., value, mode, s);
  }
  const auto shape = shape_of(a);
  const mlx_dtype type = mlx_array_dtype(a);
  const ArrayHandle inner = apply(mlx_ones, shape.data(), shape.size(), MLX_BOOL, s);
  const ArrayHandle inside =
      apply(function, inner.get(), sizes..., make_scalar(Scalar(false), MLX_BOOL).get(), mode, s);
  const ArrayHandle bordered = apply(function, a, sizes..., make_scalar(Scalar(0.0), type).get(), mode, s);
  const ArrayHandle border = apply(mlx_astype, value, type, s);
  return where(result, inside.get(), bordered.get(), border.get(), s);
}

}  // namespace

int pad(mlx_array* result, mlx_array a, const int* axes, size_t axis_count, const int* low, size_t low_count,
        const int* high, size_t high_count, mlx_array value, const char* mode, mlx_stream s) {
  return with_borders<mlx_pad>(result, a, value, mode, s, axes, axis_count, low, low_count, high, high_count);
}

int pad_symmetric(mlx_array* result, mlx_array a, int width, mlx_array value, const char* mode, mlx_stream s) {
  return with_borders<mlx_pad_symmetric>(result, a, value, mode, s, width);
}

int cummax(mlx_array* result, mlx_array a, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_of_all<cummax_axis_with_nan>(result, a, reverse, inclusive, s);
}

int cummin(mlx_array* result, mlx_array a, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_of_all<cummin_axis_with_nan>(result, a, reverse, inclusive, s);
}

int cummax_axis(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_along<cummax_axis_with_nan>(result, a, axis, reverse, inclusive, s);
}

int cummin_axis(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_along<cummin_axis_with_nan>(result, a, axis, reverse, inclusive, s);
}

int full(mlx_array* result, const int* shape, size_t rank, mlx_array values, mlx_dtype dtype, mlx_stream s) {
  require_all({values});
  return differentiating() ? spread(result, {shape, rank}, values, dtype, s)
                           : mlx_full(result, shape, rank, values, dtype, s);
}

int full_like(mlx_array* result, mlx_array a, mlx_array values, mlx_dtype dtype, mlx_stream s) {
  require_all({a, values});
  return differentiating() ? spread(result, shape_of(a), values, dtype, s) : mlx_full_like(result, a, values, dtype, s);
}

int arctan2(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  const bool doubles = mlx_array_dtype(a) == MLX_FLOAT64 || mlx_array_dtype(b) == MLX_FLOAT64;
  if (!differentiating() || !doubles) {
    return mlx_arctan2(result, a, b, s);
  }
  const mx::Stream& stream = stream_of(s);
  const MlxArrays sides = mx::broadcast_arrays(
      {mx::astype(array_of(a), mx::float64, stream), mx::astype(array_of(b), mx::float64, stream)}, stream);
  TransformRules rules;
  rules.vjp = [stream](const MlxArrays& primals, const MlxArrays& cotangents, const MlxArrays&) -> MlxArrays {
    const mx::array squares = mx::add(mx::square(primals[0], stream), mx::square(primals[1], stream), stream);
    const mx::array factor = mx::divide(cotangents[0], squares, stream);
    return {mx::multiply(primals[1], factor, stream), mx::multiply(mx::negative(primals[0], stream), factor, stream)};
  };
  const auto angle = [stream](const MlxArrays& of) -> MlxArrays { return {mx::arctan2(of[0], of[1], stream)}; };
  return set_result(result, ruled(angle, sides, rules)[0]);
}

int where(mlx_array* result, mlx_array condition, mlx_array x, mlx_array y, mlx_stream s) {
  require_all({condition, x, y});
  const bool doubles = mlx_array_dtype(x) == MLX_FLOAT64 || mlx_array_dtype(y) == MLX_FLOAT64;
  if (!differentiating() || !doubles) {
    return mlx_where(result, condition, x, y, s);
  }
  // A sum with this is the number itself, also if that is -0.
  const ArrayHandle nothing = make_scalar(Scalar(-0.0), MLX_FLOAT64);
  const ArrayHandle first = apply(mlx_where, condition, x, nothing.get(), s);
  const ArrayHandle second = apply(mlx_where, condition, nothing.get(), y, s);
  return mlx_add(result, first.get(), second.get(), s);
}

}  // namespace mlx_nif::guarded
