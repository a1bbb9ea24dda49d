// Derives from the shape of the updates how many elements an index writes, by which it is clamped.
#include "core/guards/scatter_guards.hpp"

#include <algorithm>
#include <cstddef>

#include "core/guards/clamping.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"

namespace mlx_nif::guarded {
namespace {

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

}  // namespace

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

}  // namespace mlx_nif::guarded
