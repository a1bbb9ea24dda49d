// Clamps indices and starts, checks strides, and replaces the divisors that end the process.
#include "core/guards/guards.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "core/guards/argument_guards.hpp"
#include "core/guards/mapping_guards.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/handle.hpp"
#include "core/handles/scalar.hpp"
#include "core/recording/running.hpp"

namespace mlx_nif {
namespace {

// The range of an integer type, as far as 64 bits hold it.
struct Range {
  std::int64_t lowest;
  std::int64_t highest;
};

template <typename Integer>
constexpr Range range_of() {
  return {static_cast<std::int64_t>(std::numeric_limits<Integer>::min()),
          sizeof(Integer) == 8 ? std::numeric_limits<std::int64_t>::max()
                               : static_cast<std::int64_t>(std::numeric_limits<Integer>::max())};
}

// Nothing for types that are not integers; MLX refuses those as indices.
std::optional<Range> integer_range(mlx_dtype type) {
  switch (type) {
    case MLX_UINT8:
      return range_of<std::uint8_t>();
    case MLX_UINT16:
      return range_of<std::uint16_t>();
    case MLX_UINT32:
      return range_of<std::uint32_t>();
    case MLX_UINT64:
      return range_of<std::uint64_t>();
    case MLX_INT8:
      return range_of<std::int8_t>();
    case MLX_INT16:
      return range_of<std::int16_t>();
    case MLX_INT32:
      return range_of<std::int32_t>();
    case MLX_INT64:
      return range_of<std::int64_t>();
    default:
      return std::nullopt;
  }
}

bool is_signed(mlx_array array) {
  const auto range = integer_range(mlx_array_dtype(array));
  return range && range->lowest < 0;
}

ArrayHandle scalar_like(std::int64_t value, mlx_array array) {
  return make_scalar(Scalar(value), mlx_array_dtype(array));
}

// A bound that the type cannot exceed is left out.
ArrayHandle clamp(mlx_array array, std::int64_t lowest, std::int64_t highest, mlx_stream s) {
  const auto range = integer_range(mlx_array_dtype(array));
  if (!range) {
    return share(array);
  }
  ArrayHandle result = share(array);
  if (lowest > range->lowest) {
    result = apply(mlx_maximum, result.get(), scalar_like(lowest, array).get(), s);
  }
  if (highest < range->highest) {
    result = apply(mlx_minimum, result.get(), scalar_like(highest, array).get(), s);
  }
  return result;
}

// Those below 0 are counted from the end.
ArrayHandle from_front(mlx_array indices, std::int64_t size, mlx_stream s) {
  if (!is_signed(indices)) {
    return share(indices);
  }
  const ArrayHandle wide = apply(mlx_astype, indices, MLX_INT64, s);
  const ArrayHandle moved = apply(mlx_add, wide.get(), make_scalar(Scalar(size), MLX_INT64).get(), s);
  const ArrayHandle negative = apply(mlx_less, wide.get(), make_scalar(Scalar(std::int64_t{0}), MLX_INT64).get(), s);
  return apply(mlx_where, negative.get(), moved.get(), wide.get(), s);
}

// Indices into an axis of `size` elements, from either end. An axis without elements is MLX's to refuse.
ArrayHandle clamp_index(mlx_array indices, std::int64_t size, mlx_stream s) {
  return indices.ctx == nullptr || size == 0 ? share(indices) : clamp(indices, -size, size - 1, s);
}

// Starts of slices of `length` elements of an axis of `size`: counted from the front, so that the slice stays inside.
ArrayHandle clamp_start(mlx_array starts, std::int64_t size, std::int64_t length, mlx_stream s) {
  if (length == 1) {
    return clamp_index(starts, size, s);
  }
  if (!integer_range(mlx_array_dtype(starts)) || length > size || length < 0) {
    return share(starts);
  }
  return clamp(from_front(starts, size, s).get(), 0, size - length, s);
}

// Without a valid axis the indices stay as they are: MLX refuses the axis.
ArrayHandle clamp_on_axis(mlx_array a, mlx_array indices, int axis, mlx_stream s) {
  const auto normal = normal_axis(a, axis);
  return normal ? clamp_index(indices, shape_of(a)[*normal], s) : share(indices);
}

// Mapped, MLX numbers the slices in the type of the indices.
ArrayHandle wide_index(mlx_array index, mlx_stream s) {
  return mapping() && mlx_dtype_size(mlx_array_dtype(index)) < 4 ? apply(mlx_astype, index, MLX_INT32, s)
                                                                 : share(index);
}

// Clamps the indices of a gather or scatter; `length(axis)` is how many elements each takes from an axis.
template <typename Length>
ArrayVectorHandle clamp_starts(mlx_array a, mlx_vector_array indices, std::span<const int> axes, const Length& length,
                               mlx_stream s) {
  auto starts = elements_of(indices);
  for (std::size_t index = 0; index < starts.size() && index < axes.size(); ++index) {
    if (const auto axis = normal_axis(a, axes[index])) {
      starts[index] = clamp_start(wide_index(starts[index].get(), s).get(), shape_of(a)[*axis], length(*axis), s);
    }
  }
  return vector_of(borrow(starts));
}

// How many elements of an axis one index of a scatter writes: the updates have the shape of the indices first.
int update_length(mlx_array updates, std::size_t index_rank, int axis) {
  const auto shape = shape_of(updates);
  const std::size_t position = index_rank + static_cast<std::size_t>(axis);
  return position < shape.size() ? shape[position] : 1;
}

// MLX divides by the number of updates.
int set_scattered(mlx_array* result, const ArrayHandle& scattered, mlx_array a, mlx_array updates) {
  return mlx_array_set(result, mlx_array_size(updates) == 0 ? a : scattered.get());
}

template <auto function>
int scatter_with(mlx_array* result, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
                 size_t axes_count, mlx_stream s) {
  require_all({a, updates});
  std::size_t index_rank = 0;
  for (const ArrayHandle& index : elements_of(indices)) {
    index_rank = std::max(index_rank, mlx_array_ndim(index.get()));
  }
  const auto length = [&](int axis) { return update_length(updates, index_rank, axis); };
  const auto starts = clamp_starts(a, indices, {axes, axes_count}, length, s);
  ArrayHandle made;
  check(function(made.out(), a, starts.get(), updates, axes, axes_count, s));
  return set_scattered(result, made, a, updates);
}

template <auto function>
int scatter_single_with(mlx_array* result, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream s) {
  require_all({a, indices, updates});
  const auto normal = normal_axis(a, axis);
  const ArrayHandle starts =
      normal ? clamp_start(indices, shape_of(a)[*normal], update_length(updates, mlx_array_ndim(indices), *normal), s)
             : share(indices);
  ArrayHandle made;
  check(function(made.out(), a, wide_index(starts.get(), s).get(), updates, axis, s));
  return set_scattered(result, made, a, updates);
}

// Clamped starts of a slice of the given lengths, for all axes in one array.
ArrayHandle clamp_slice(mlx_array a, mlx_array start, std::span<const int> axes, std::span<const int> lengths,
                        mlx_stream s) {
  std::vector<std::int64_t> highest;
  for (const int given : axes) {
    const auto axis = normal_axis(a, given);
    if (!axis || static_cast<std::size_t>(*axis) >= lengths.size()) {
      return share(start);
    }
    highest.push_back(std::max(0, shape_of(a)[*axis] - lengths[*axis]));
  }
  if (!integer_range(mlx_array_dtype(start)) || mlx_array_size(start) != highest.size() || highest.empty()) {
    return share(start);
  }
  // A limit without axes is one that MLX takes for the same constant in all updates of a compiled function.
  if (std::ranges::adjacent_find(highest, std::not_equal_to()) == highest.end()) {
    return clamp(start, 0, highest.front(), s);
  }
  const auto start_shape = shape_of(start);
  const ArrayHandle limits(
      mlx_array_new_data(highest.data(), start_shape.data(), static_cast<int>(start_shape.size()), MLX_INT64));
  const ArrayHandle zero = make_scalar(Scalar(std::int64_t{0}), MLX_INT64);
  const ArrayHandle wide = apply(mlx_astype, start, MLX_INT64, s);
  return apply(mlx_clip, wide.get(), zero.get(), limits.get(), s);
}

bool is_integral(mlx_array array) {
  const mlx_dtype type = mlx_array_dtype(array);
  return type == MLX_BOOL || integer_range(type).has_value();
}

// Integer division with the divisors that stop the process replaced by 1.
struct Division {
  ArrayHandle by_zero;
  ArrayHandle by_minus_one;  // only for signed divisors
  ArrayHandle divisor;

  Division(mlx_array b, mlx_stream s) : by_zero(apply(mlx_equal, b, scalar_like(0, b).get(), s)) {
    ArrayHandle special = share(by_zero.get());
    if (is_signed(b)) {
      by_minus_one = apply(mlx_equal, b, scalar_like(-1, b).get(), s);
      special = apply(mlx_logical_or, by_zero.get(), by_minus_one.get(), s);
    }
    divisor = apply(mlx_where, special.get(), scalar_like(1, b).get(), b, s);
  }

  // `quotient` is the dividend where the divisor was replaced.
  ArrayHandle quotient(mlx_array quotient, mlx_stream s) const {
    ArrayHandle result = share(quotient);
    if (by_minus_one) {
      const ArrayHandle negated = apply(mlx_negative, quotient, s);
      result = apply(mlx_where, by_minus_one.get(), negated.get(), result.get(), s);
    }
    return apply(mlx_where, by_zero.get(), scalar_like(0, quotient).get(), result.get(), s);
  }

  ArrayHandle remainder(mlx_array remainder, mlx_array dividend, mlx_stream s) const {
    const ArrayHandle whole = apply(mlx_astype, dividend, mlx_array_dtype(remainder), s);
    return apply(mlx_where, by_zero.get(), whole.get(), remainder, s);
  }
};

bool divides_integers(mlx_array a, mlx_array b) {
  require_all({a, b});
  return is_integral(a) && is_integral(b);
}

}  // namespace

ArrayHandle clamp_from_front(mlx_array indices, std::int64_t size, mlx_stream s) {
  const bool none = indices.ctx == nullptr || size == 0;
  return none ? share(indices) : clamp(from_front(indices, size, s).get(), 0, size - 1, s);
}

namespace guarded {

int take(mlx_array* result, mlx_array a, mlx_array indices, mlx_stream s) {
  require_all({a, indices});
  const ArrayHandle clamped = clamp_index(indices, static_cast<std::int64_t>(mlx_array_size(a)), s);
  return mlx_take(result, a, clamped.get(), s);
}

int take_axis(mlx_array* result, mlx_array a, mlx_array indices, int axis, mlx_stream s) {
  require_all({a, indices});
  return mlx_take_axis(result, a, clamp_on_axis(a, indices, axis, s).get(), axis, s);
}

int take_along_axis(mlx_array* result, mlx_array a, mlx_array indices, int axis, mlx_stream s) {
  require_all({a, indices});
  return mlx_take_along_axis(result, a, clamp_on_axis(a, indices, axis, s).get(), axis, s);
}

int put_along_axis(mlx_array* result, mlx_array a, mlx_array indices, mlx_array values, int axis, mlx_stream s) {
  require_all({a, indices, values});
  return mlx_put_along_axis(result, a, clamp_on_axis(a, indices, axis, s).get(), values, axis, s);
}

int scatter_add_axis(mlx_array* result, mlx_array a, mlx_array indices, mlx_array values, int axis, mlx_stream s) {
  require_all({a, indices, values});
  return mlx_scatter_add_axis(result, a, clamp_on_axis(a, indices, axis, s).get(), values, axis, s);
}

int gather(mlx_array* result, mlx_array a, mlx_vector_array indices, const int* axes, size_t axes_count,
           const int* slice_sizes, size_t slice_sizes_count, mlx_stream s) {
  require_all({a});
  const auto length = [&](int axis) {
    return static_cast<std::size_t>(axis) < slice_sizes_count ? slice_sizes[axis] : 1;
  };
  const auto starts = clamp_starts(a, indices, {axes, axes_count}, length, s);
  return mlx_gather(result, a, starts.get(), axes, axes_count, slice_sizes, slice_sizes_count, s);
}

int gather_single(mlx_array* result, mlx_array a, mlx_array indices, int axis, const int* slice_sizes,
                  size_t slice_sizes_count, mlx_stream s) {
  require_all({a, indices});
  const auto normal = normal_axis(a, axis);
  const bool fits = normal && static_cast<std::size_t>(*normal) < slice_sizes_count;
  const ArrayHandle starts =
      fits ? clamp_start(indices, shape_of(a)[*normal], slice_sizes[*normal], s) : share(indices);
  return mlx_gather_single(result, a, starts.get(), axis, slice_sizes, slice_sizes_count, s);
}

int scatter(mlx_array* result, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
            size_t axes_count, mlx_stream s) {
  return scatter_with<mlx_scatter>(result, a, indices, updates, axes, axes_count, s);
}

int scatter_add(mlx_array* result, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
                size_t axes_count, mlx_stream s) {
  return scatter_with<mlx_scatter_add>(result, a, indices, updates, axes, axes_count, s);
}

int scatter_max(mlx_array* result, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
                size_t axes_count, mlx_stream s) {
  return scatter_with<mlx_scatter_max>(result, a, indices, updates, axes, axes_count, s);
}

int scatter_min(mlx_array* result, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
                size_t axes_count, mlx_stream s) {
  return scatter_with<mlx_scatter_min>(result, a, indices, updates, axes, axes_count, s);
}

int scatter_prod(mlx_array* result, mlx_array a, mlx_vector_array indices, mlx_array updates, const int* axes,
                 size_t axes_count, mlx_stream s) {
  return scatter_with<mlx_scatter_prod>(result, a, indices, updates, axes, axes_count, s);
}

int scatter_single(mlx_array* result, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream s) {
  return scatter_single_with<mlx_scatter_single>(result, a, indices, updates, axis, s);
}

int scatter_add_single(mlx_array* result, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream s) {
  return scatter_single_with<mlx_scatter_add_single>(result, a, indices, updates, axis, s);
}

int scatter_max_single(mlx_array* result, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream s) {
  return scatter_single_with<mlx_scatter_max_single>(result, a, indices, updates, axis, s);
}

int scatter_min_single(mlx_array* result, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream s) {
  return scatter_single_with<mlx_scatter_min_single>(result, a, indices, updates, axis, s);
}

int scatter_prod_single(mlx_array* result, mlx_array a, mlx_array indices, mlx_array updates, int axis, mlx_stream s) {
  return scatter_single_with<mlx_scatter_prod_single>(result, a, indices, updates, axis, s);
}

int slice_dynamic(mlx_array* result, mlx_array a, mlx_array start, const int* axes, size_t axes_count,
                  const int* slice_size, size_t slice_size_count, mlx_stream s) {
  require_all({a, start});
  const ArrayHandle clamped = clamp_slice(a, start, {axes, axes_count}, {slice_size, slice_size_count}, s);
  return mlx_slice_dynamic(result, a, clamped.get(), axes, axes_count, slice_size, slice_size_count, s);
}

int slice_update_dynamic(mlx_array* result, mlx_array a, mlx_array update, mlx_array start, const int* axes,
                         size_t axes_count, mlx_stream s) {
  require_all({a, update, start});
  if (mlx_array_ndim(update) > mlx_array_ndim(a)) {
    throw ArgumentError("the update has more axes than the array");
  }
  const ArrayHandle clamped = clamp_slice(a, start, {axes, axes_count}, shape_of(update), s);
  if (mapping()) {
    const auto place = [&](mlx_array onto, mlx_array values) {
      return apply(mlx_slice_update_dynamic, onto, values, clamped.get(), axes, axes_count, s);
    };
    return update_by_mask(result, a, update, place, replace_by_update, s);
  }
  return mlx_slice_update_dynamic(result, a, update, clamped.get(), axes, axes_count, s);
}

int segmented_mm(mlx_array* result, mlx_array a, mlx_array b, mlx_array segments, mlx_stream s) {
  require_all({a, b, segments});
  const auto shape = shape_of(a);
  const ArrayHandle clamped = shape.empty() ? share(segments) : clamp(segments, 0, shape.back(), s);
  return mlx_segmented_mm(result, a, b, clamped.get(), s);
}

int fast_cross_entropy(mlx_array* result, mlx_array logits, mlx_array targets, mlx_stream s) {
  require_all({logits, targets});
  return mlx_fast_cross_entropy(result, logits, clamp_on_axis(logits, targets, -1, s).get(), s);
}

int as_strided(mlx_array* result, mlx_array a, const int* shape, size_t rank, const int64_t* strides,
               size_t strides_count, size_t offset, mlx_stream s) {
  require_all({a});
  if (rank != strides_count) {
    throw ArgumentError("the shape and the strides have different lengths");
  }
  // 128 bits hold the sum of products of 31 and 64 bits.
  __int128 lowest = static_cast<__int128>(offset);
  __int128 highest = lowest;
  bool empty = false;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    if (shape[axis] < 0) {
      throw ArgumentError("a dimension is negative");
    }
    empty |= shape[axis] == 0;
    const __int128 reach = static_cast<__int128>(strides[axis]) * (shape[axis] - 1);
    (reach < 0 ? lowest : highest) += reach;
  }
  const auto size = static_cast<__int128>(mlx_array_size(a));
  if (!empty && (lowest < 0 || highest >= size)) {
    throw ArgumentError("the view reaches outside of the array");
  }
  return mlx_as_strided(result, a, shape, rank, strides, strides_count, empty ? 0 : offset, s);
}

int floor_divide(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  if (!divides_integers(a, b)) {
    return mlx_floor_divide(result, a, b, s);
  }
  const Division division(b, s);
  const ArrayHandle quotient = apply(mlx_floor_divide, a, division.divisor.get(), s);
  return mlx_array_set(result, division.quotient(quotient.get(), s).get());
}

int remainder(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  if (!divides_integers(a, b)) {
    return mlx_remainder(result, a, b, s);
  }
  const Division division(b, s);
  const ArrayHandle remainder = apply(mlx_remainder, a, division.divisor.get(), s);
  return mlx_array_set(result, division.remainder(remainder.get(), a, s).get());
}

int divmod(mlx_vector_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  std::vector<ArrayHandle> results(2);
  if (divides_integers(a, b)) {
    check(floor_divide(results[0].out(), a, b, s));
    check(remainder(results[1].out(), a, b, s));
  } else if (mapping()) {
    results[0] = apply(mlx_floor_divide, a, b, s);
    results[1] = apply(mlx_stop_gradient, apply(mlx_remainder, a, b, s).get(), s);
  } else {
    return mlx_divmod(result, a, b, s);
  }
  set_all(result, results);
  return 0;
}

}  // namespace guarded
}  // namespace mlx_nif
