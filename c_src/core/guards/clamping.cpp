// Compares indices with the bounds of their axis by operations of MLX, so that they may be unknown by then.
#include "core/guards/clamping.hpp"

#include <cstddef>

#include "core/guards/integer_types.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/scalar.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif {
namespace {

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

}  // namespace

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

ArrayHandle clamp_index(mlx_array indices, std::int64_t size, mlx_stream s) {
  return indices.ctx == nullptr || size == 0 ? share(indices) : clamp(indices, -size, size - 1, s);
}

ArrayHandle clamp_on_axis(mlx_array a, mlx_array indices, int axis, mlx_stream s) {
  const auto normal = normal_axis(a, axis);
  return normal ? clamp_index(indices, shape_of(a)[*normal], s) : share(indices);
}

ArrayHandle clamp_from_front(mlx_array indices, std::int64_t size, mlx_stream s) {
  const bool none = indices.ctx == nullptr || size == 0;
  return none ? share(indices) : clamp(from_front(indices, size, s).get(), 0, size - 1, s);
}

ArrayHandle clamp_start(mlx_array starts, std::int64_t size, std::int64_t length, mlx_stream s) {
  if (length == 1) {
    return clamp_index(starts, size, s);
  }
  if (!integer_range(mlx_array_dtype(starts)) || length > size || length < 0) {
    return share(starts);
  }
  return clamp(from_front(starts, size, s).get(), 0, size - length, s);
}

ArrayVectorHandle clamp_starts(mlx_array a, mlx_vector_array indices, std::span<const int> axes,
                               const SliceLength& length, mlx_stream s) {
  auto starts = elements_of(indices);
  for (std::size_t index = 0; index < starts.size() && index < axes.size(); ++index) {
    if (const auto axis = normal_axis(a, axes[index])) {
      starts[index] = clamp_start(wide_index(starts[index].get(), s).get(), shape_of(a)[*axis], length(*axis), s);
    }
  }
  return vector_of(borrow(starts));
}

ArrayHandle wide_index(mlx_array index, mlx_stream s) {
  return mapping() && mlx_dtype_size(mlx_array_dtype(index)) < 4 ? apply(mlx_astype, index, MLX_INT32, s)
                                                                 : share(index);
}

}  // namespace mlx_nif
