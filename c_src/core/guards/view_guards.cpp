// Adds up how far the strides reach, and compares that with the size of the array.
#include "core/guards/view_guards.hpp"

#include "core/handles/arguments.hpp"
#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/recording/in_rows.hpp"

namespace mlx_nif::guarded {

namespace mx = mlx::core;

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
  const std::size_t start = empty ? 0 : offset;
  return set_result(result, mx::as_strided(in_rows(array_of(a), stream_of(s)), {shape, shape + rank},
                                           {strides, strides + rank}, start, stream_of(s)));
}

}  // namespace mlx_nif::guarded
