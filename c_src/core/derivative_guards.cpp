#include "core/derivative_guards.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/argument_guards.hpp"
#include "core/arguments.hpp"
#include "core/error.hpp"
#include "core/expression.hpp"
#include "core/running.hpp"
#include "core/scalar.hpp"

namespace mlx_nif::guarded {
namespace {

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
  if (!differentiating() || !normal) {
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

// Where the elements of a padded axis come from: there and back again, with the ends twice or once.
std::vector<int> mirrored(int size, int low, int high, bool ends_twice) {
  const bool twice = ends_twice || size == 1;
  const int period = twice ? 2 * size : 2 * (size - 1);
  std::vector<int> sources;
  for (int place = -low; place < size + high; ++place) {
    const int phase = ((place % period) + period) % period;
    sources.push_back(phase < size ? phase : period - phase - (twice ? 1 : 0));
  }
  return sources;
}

// Whether MLX flips a single element: borders are made in parts of at most `size` elements, or one less.
bool flips_one(int size, int width, bool ends_twice) {
  const int longest = ends_twice || size == 1 ? size : size - 1;
  return width > 0 && (longest == 1 || width % longest == 1);
}

// What is added at both ends of each axis.
struct Widths {
  explicit Widths(std::size_t rank) : axes(rank), low(rank), high(rank) { std::iota(axes.begin(), axes.end(), 0); }

  bool flip_one(std::span<const int> shape, bool ends_twice) const {
    for (std::size_t axis = 0; axis < axes.size(); ++axis) {
      if (flips_one(shape[axis], low[axis], ends_twice) || flips_one(shape[axis], high[axis], ends_twice)) {
        return true;
      }
    }
    return false;
  }

  std::vector<int> axes;
  std::vector<int> low;
  std::vector<int> high;
};

int pad_mirrored(mlx_array* result, mlx_array a, const Widths& widths, bool ends_twice, mlx_stream s) {
  ArrayHandle padded;
  check(mlx_array_set(padded.out(), a));
  for (const int axis : widths.axes) {
    const auto place = static_cast<std::size_t>(axis);
    const auto sources = mirrored(shape_of(a)[place], widths.low[place], widths.high[place], ends_twice);
    const int count = static_cast<int>(sources.size());
    const ArrayHandle indices(mlx_array_new_data(sources.data(), &count, 1, MLX_INT32));
    padded = apply(mlx_take_axis, padded.get(), indices.get(), axis, s);
  }
  return mlx_array_set(result, padded.get());
}

}  // namespace

int cummax(mlx_array* result, mlx_array a, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_of_all<mlx_cummax_axis>(result, a, reverse, inclusive, s);
}

int cummin(mlx_array* result, mlx_array a, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_of_all<mlx_cummin_axis>(result, a, reverse, inclusive, s);
}

int cummax_axis(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_along<mlx_cummax_axis>(result, a, axis, reverse, inclusive, s);
}

int cummin_axis(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_stream s) {
  return running_extreme_along<mlx_cummin_axis>(result, a, axis, reverse, inclusive, s);
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

int flip(mlx_array* result, mlx_array a, mlx_stream s) {
  require_all({a});
  std::vector<int> axes(mlx_array_ndim(a));
  std::iota(axes.begin(), axes.end(), 0);
  return flip_axes(result, a, axes.data(), axes.size(), s);
}

int flip_axes(mlx_array* result, mlx_array a, const int* axes, size_t axes_count, mlx_stream s) {
  require_all({a});
  std::vector<int> kept;
  std::copy_if(axes, axes + axes_count, std::back_inserter(kept), [&](int axis) {
    const auto normal = normal_axis(a, axis);
    return !normal || shape_of(a)[static_cast<std::size_t>(*normal)] != 1;
  });
  return kept.empty() ? mlx_array_set(result, a) : mlx_flip_axes(result, a, kept.data(), kept.size(), s);
}

int flip_axis(mlx_array* result, mlx_array a, int axis, mlx_stream s) {
  return flip_axes(result, a, &axis, 1, s);
}

int pad(mlx_array* result, mlx_array a, const int* axes, size_t axes_count, const int* low, size_t low_count,
        const int* high, size_t high_count, mlx_array value, const char* mode, mlx_stream s) {
  check_axes(a, {axes, axes_count});
  const std::size_t rank = mlx_array_ndim(a);
  if (low_count != axes_count || high_count != axes_count) {
    throw ArgumentError("expected a width at both ends of each axis");
  }
  Widths widths(rank);
  for (std::size_t index = 0; index < axes_count; ++index) {
    const auto axis = static_cast<std::size_t>(*normal_axis(a, axes[index]));
    widths.low[axis] = low[index];
    widths.high[axis] = high[index];
  }
  const bool ends_twice = std::string_view(mode) == "symmetric";
  const bool mirrors = ends_twice || std::string_view(mode) == "reflect";
  if ((differentiating() || mapping()) && mirrors && !has_no_elements(a) && widths.flip_one(shape_of(a), ends_twice)) {
    return pad_mirrored(result, a, widths, ends_twice, s);
  }
  return mlx_pad(result, a, widths.axes.data(), rank, widths.low.data(), rank, widths.high.data(), rank, value, mode,
                 s);
}

int pad_symmetric(mlx_array* result, mlx_array a, int width, mlx_array value, const char* mode, mlx_stream s) {
  require_all({a});
  std::vector<int> axes(mlx_array_ndim(a));
  std::iota(axes.begin(), axes.end(), 0);
  const std::vector<int> widths(axes.size(), width);
  return pad(result, a, axes.data(), axes.size(), widths.data(), widths.size(), widths.data(), widths.size(), value,
             mode, s);
}

int fast_rope(mlx_array* result, mlx_array x, int dims, bool traditional, mlx_optional_float base, float scale,
              int offset, mlx_array freqs, mlx_stream s) {
  return mlx_fast_rope(result, x, dims, traditional && dims != 2, base, scale, offset, freqs, s);
}

int fast_rope_dynamic(mlx_array* result, mlx_array x, int dims, bool traditional, mlx_optional_float base, float scale,
                      mlx_array offset, mlx_array freqs, mlx_stream s) {
  return mlx_fast_rope_dynamic(result, x, dims, traditional && dims != 2, base, scale, offset, freqs, s);
}

}  // namespace mlx_nif::guarded
