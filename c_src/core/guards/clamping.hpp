// Indices that are brought inside of an array, as MLX does not look whether they are.
#pragma once

#include <mlx/c/mlx.h>

#include <cstdint>
#include <functional>
#include <span>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// A bound that the type cannot exceed is left out. What is not an integer stays as it is.
ArrayHandle clamp(mlx_array array, std::int64_t lowest, std::int64_t highest, mlx_stream s);

// Indices into an axis of `size` elements, from either end. An axis without elements is MLX's to refuse.
ArrayHandle clamp_index(mlx_array indices, std::int64_t size, mlx_stream s);

// Without a valid axis the indices stay as they are: MLX refuses the axis.
ArrayHandle clamp_on_axis(mlx_array a, mlx_array indices, int axis, mlx_stream s);

// For operations of MLX that do not count indices below 0 from the end. Null stays null.
ArrayHandle clamp_from_front(mlx_array indices, std::int64_t size, mlx_stream s);

// Starts of slices of `length` elements of an axis of `size`: counted from the front, so that the slice stays inside.
ArrayHandle clamp_start(mlx_array starts, std::int64_t size, std::int64_t length, mlx_stream s);

// The indices of a gather or scatter, one for each of the axes; `length(axis)` is how many elements each takes from an
// axis.
using SliceLength = std::function<int(int axis)>;
ArrayVectorHandle clamp_starts(mlx_array a, mlx_vector_array indices, std::span<const int> axes,
                               const SliceLength& length, mlx_stream s);

// Mapped, MLX numbers the slices in the type of the indices.
ArrayHandle wide_index(mlx_array index, mlx_stream s);

}  // namespace mlx_nif
