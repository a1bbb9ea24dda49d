// Looks for a dimension of 0, and makes a value of such a shape.
#include "core/handles/empty_arrays.hpp"

#include <algorithm>

#include "core/handles/arguments.hpp"
#include "core/handles/error.hpp"

namespace mlx_nif {

bool has_no_elements(mlx_array array) {
  const auto shape = shape_of(array);
  return std::ranges::find(shape, 0) != shape.end();
}

ArrayHandle without_elements(mlx_array array) {
  const auto shape = shape_of(array);
  const char nothing = 0;
  return require_made(
      ArrayHandle(mlx_array_new_data(&nothing, shape.data(), static_cast<int>(shape.size()), mlx_array_dtype(array))));
}

}  // namespace mlx_nif
