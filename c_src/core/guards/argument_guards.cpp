// Looks at the arguments before MLX gets them, and replaces an operation where it can be defined for all.
#include "core/guards/argument_guards.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <string>

#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/empty_arrays.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/handle.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/recording/computed_after.hpp"

namespace mlx_nif::guarded {
namespace {

void check_matrix_not_empty(mlx_array a) {
  require_all({a});
  if (mlx_array_size(a) == 0) {
    throw ArgumentError("the matrix has no elements");
  }
}

// Which matrices of a batch are finite, and these with zeros for the others.
struct FiniteMatrices {
  ArrayHandle finite;
  ArrayHandle matrices;

  FiniteMatrices(mlx_array a, mlx_stream s) {
    const std::array axes{-2, -1};
    const ArrayHandle elements = apply(mlx_isfinite, a, s);
    finite = apply(mlx_all_axes, elements.get(), axes.data(), axes.size(), true, s);
    const ArrayHandle zero(mlx_array_new_int(0));
    const ArrayHandle zeros = apply(mlx_astype, zero.get(), mlx_array_dtype(a), s);
    matrices = apply(mlx_where, finite.get(), a, zeros.get(), s);
  }

  // NaN in what was computed from the others.
  ArrayHandle mark(mlx_array vectors, mlx_stream s) const {
    const ArrayHandle nan(mlx_array_new_float(std::numeric_limits<float>::quiet_NaN()));
    const ArrayHandle nans = apply(mlx_astype, nan.get(), mlx_array_dtype(vectors), s);
    return apply(mlx_where, finite.get(), vectors, nans.get(), s);
  }

  ArrayHandle mark_values(mlx_array values, mlx_stream s) const {
    const ArrayHandle column = apply(mlx_expand_dims, values, -1, s);
    const ArrayHandle marked = mark(column.get(), s);
    return apply(mlx_squeeze_axis, marked.get(), -1, s);
  }
};

bool is_matrix(mlx_array a) {
  require_all({a});
  return mlx_array_ndim(a) >= 2;
}

}  // namespace

void check_axes(mlx_array a, std::span<const int> axes) {
  require_all({a});
  for (const int axis : axes) {
    if (!normal_axis(a, axis)) {
      throw ArgumentError("the array has no axis " + std::to_string(axis));
    }
  }
}

int number_of_elements(mlx_array* result, mlx_array a, const int* axes, size_t axes_count, bool inverted,
                       mlx_dtype dtype, mlx_stream s) {
  check_axes(a, {axes, axes_count});
  return mlx_number_of_elements(result, a, axes, axes_count, inverted, dtype, s);
}

int split(mlx_vector_array* result, mlx_array a, int count, int axis, mlx_stream s) {
  require_all({a});
  const auto normal = normal_axis(a, axis);
  if (normal && count > std::max(shape_of(a)[*normal], 1)) {
    throw ArgumentError("there are more parts than elements along the axis");
  }
  return mlx_split(result, a, count, axis, s);
}

int diff(mlx_array* result, mlx_array a, int n, int axis, mlx_stream s) {
  require_all({a});
  const auto normal = normal_axis(a, axis);
  return mlx_diff(result, a, normal ? std::min(n, shape_of(a)[*normal]) : n, axis, s);
}

int trace(mlx_array* result, mlx_array a, mlx_stream s) {
  require_all({a});
  return trace_axes(result, a, 0, 0, 1, mlx_array_dtype(a), s);
}

int trace_axes(mlx_array* result, mlx_array a, int offset, int axis1, int axis2, mlx_dtype dtype, mlx_stream s) {
  ArrayHandle diagonal = apply(mlx_diagonal, a, offset, axis1, axis2, s);
  if (has_no_elements(diagonal.get())) {
    diagonal = without_elements(diagonal.get());
  }
  const ArrayHandle converted = apply(mlx_astype, diagonal.get(), dtype, s);
  return mlx_sum_axis(result, converted.get(), -1, false, s);
}

int masked_scatter(mlx_array* result, mlx_array a, mlx_array mask, mlx_array source, mlx_stream s) {
  require_all({a, mask, source});
  if (mlx_array_size(source) == 0 && mlx_array_size(mask) != 0) {
    throw ArgumentError("there are no elements to scatter");
  }
  return mlx_masked_scatter(result, a, mask, source, s);
}

int depends(mlx_vector_array* result, mlx_vector_array inputs, mlx_vector_array dependencies) {
  if (mlx_vector_array_size(inputs) == 0) {
    *result = mlx_vector_array_new();
    return 0;
  }
  return set_results(
      result, computed_after(arrays_of(borrow(elements_of(inputs))), arrays_of(borrow(elements_of(dependencies)))));
}

int linalg_lu(mlx_vector_array* result, mlx_array a, mlx_stream s) {
  check_matrix_not_empty(a);
  return mlx_linalg_lu(result, a, s);
}

int linalg_lu_factor(mlx_array* lu, mlx_array* pivots, mlx_array a, mlx_stream s) {
  check_matrix_not_empty(a);
  return mlx_linalg_lu_factor(lu, pivots, a, s);
}

int linalg_eig(mlx_array* values, mlx_array* vectors, mlx_array a, mlx_stream s) {
  if (!is_matrix(a)) {
    return mlx_linalg_eig(values, vectors, a, s);
  }
  const FiniteMatrices finite(a, s);
  ArrayHandle found_values;
  ArrayHandle found_vectors;
  check(mlx_linalg_eig(found_values.out(), found_vectors.out(), finite.matrices.get(), s));
  check(mlx_array_set(values, finite.mark_values(found_values.get(), s).get()));
  return mlx_array_set(vectors, finite.mark(found_vectors.get(), s).get());
}

int linalg_eigvals(mlx_array* values, mlx_array a, mlx_stream s) {
  if (!is_matrix(a)) {
    return mlx_linalg_eigvals(values, a, s);
  }
  const FiniteMatrices finite(a, s);
  const ArrayHandle found = apply(mlx_linalg_eigvals, finite.matrices.get(), s);
  return mlx_array_set(values, finite.mark_values(found.get(), s).get());
}

}  // namespace mlx_nif::guarded
