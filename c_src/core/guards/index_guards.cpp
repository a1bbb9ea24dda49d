// Clamps the indices of each operation by the axis that they go along.
#include "core/guards/index_guards.hpp"

#include <cstddef>
#include <cstdint>

#include "core/guards/clamping.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"

namespace mlx_nif::guarded {

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

}  // namespace mlx_nif::guarded
