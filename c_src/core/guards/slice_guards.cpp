// Checks steps, clamps starts, and updates through a mask where a slice is mapped.
#include "core/guards/slice_guards.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/guards/clamping.hpp"
#include "core/guards/integer_types.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/scalar.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif::guarded {
namespace {

void check_steps(std::span<const int> steps) {
  if (std::ranges::find(steps, 0) != steps.end()) {
    throw ArgumentError("the step of a slice is 0");
  }
}

template <auto function, auto combine>
int update_slice(mlx_array* result, mlx_array a, mlx_array update, const int* start, size_t start_count,
                 const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream s) {
  require_all({a, update});
  check_steps({strides, strides_count});
  if (mapping()) {
    const auto place = [&](mlx_array onto, mlx_array values) {
      return apply(mlx_slice_update, onto, values, start, start_count, stop, stop_count, strides, strides_count, s);
    };
    return update_by_mask(result, a, update, place, *combine, s);
  }
  return function(result, a, update, start, start_count, stop, stop_count, strides, strides_count, s);
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

}  // namespace

int replace_by_update(mlx_array* result, mlx_array, mlx_array update, mlx_stream) {
  return mlx_array_set(result, update);
}

int update_by_mask(mlx_array* result, mlx_array a, mlx_array update, const Place& place, Combine& combine,
                   mlx_stream s) {
  require_all({a, update});
  const auto shape = shape_of(a);
  const auto placed_shape = shape_of(update);
  const ArrayHandle zeros = apply(mlx_zeros, shape.data(), shape.size(), mlx_array_dtype(a), s);
  const ArrayHandle nowhere = apply(mlx_zeros, shape.data(), shape.size(), MLX_BOOL, s);
  const ArrayHandle ones = apply(mlx_ones, placed_shape.data(), placed_shape.size(), MLX_BOOL, s);
  const ArrayHandle mask = place(nowhere.get(), ones.get());
  const ArrayHandle placed = place(zeros.get(), update);
  const ArrayHandle combined = apply(combine, a, placed.get(), s);
  return mlx_where(result, mask.get(), combined.get(), a, s);
}

int slice(mlx_array* result, mlx_array a, const int* start, size_t start_count, const int* stop, size_t stop_count,
          const int* strides, size_t strides_count, mlx_stream s) {
  require_all({a});
  check_steps({strides, strides_count});
  return mlx_slice(result, a, start, start_count, stop, stop_count, strides, strides_count, s);
}

int slice_update(mlx_array* result, mlx_array a, mlx_array update, const int* start, size_t start_count,
                 const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream s) {
  return update_slice<mlx_slice_update, replace_by_update>(result, a, update, start, start_count, stop, stop_count,
                                                           strides, strides_count, s);
}

int slice_update_add(mlx_array* result, mlx_array a, mlx_array update, const int* start, size_t start_count,
                     const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream s) {
  return update_slice<mlx_slice_update_add, mlx_add>(result, a, update, start, start_count, stop, stop_count, strides,
                                                     strides_count, s);
}

int slice_update_max(mlx_array* result, mlx_array a, mlx_array update, const int* start, size_t start_count,
                     const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream s) {
  return update_slice<mlx_slice_update_max, mlx_maximum>(result, a, update, start, start_count, stop, stop_count,
                                                         strides, strides_count, s);
}

int slice_update_min(mlx_array* result, mlx_array a, mlx_array update, const int* start, size_t start_count,
                     const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream s) {
  return update_slice<mlx_slice_update_min, mlx_minimum>(result, a, update, start, start_count, stop, stop_count,
                                                         strides, strides_count, s);
}

int slice_update_prod(mlx_array* result, mlx_array a, mlx_array update, const int* start, size_t start_count,
                      const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream s) {
  return update_slice<mlx_slice_update_prod, mlx_multiply>(result, a, update, start, start_count, stop, stop_count,
                                                           strides, strides_count, s);
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

}  // namespace mlx_nif::guarded
