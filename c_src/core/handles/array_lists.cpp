// Copies handles, which share what they hold, from lists of one kind to those of the other.
#include "core/handles/array_lists.hpp"

#include <algorithm>
#include <cstddef>

#include "core/handles/error.hpp"

namespace mlx_nif {

ArrayHandle share(mlx_array array) {
  ArrayHandle handle;
  if (array.ctx != nullptr) {
    check(mlx_array_set(handle.out(), array));
  }
  return handle;
}

std::vector<mlx_array> borrow(std::span<const ArrayHandle> arrays) {
  std::vector<mlx_array> borrowed(arrays.size());
  std::ranges::transform(arrays, borrowed.begin(), &ArrayHandle::get);
  return borrowed;
}

ArrayVectorHandle vector_of(std::span<const mlx_array> arrays) {
  return require_made(ArrayVectorHandle(mlx_vector_array_new_data(arrays.data(), arrays.size())));
}

std::vector<ArrayHandle> elements_of(mlx_vector_array vector) {
  std::vector<ArrayHandle> elements;
  append_all(elements, vector);
  return elements;
}

void append_all(std::vector<ArrayHandle>& results, mlx_vector_array arrays) {
  const std::size_t count = mlx_vector_array_size(arrays);
  for (std::size_t index = 0; index < count; ++index) {
    check(mlx_vector_array_get(results.emplace_back().out(), arrays, index));
  }
}

void set_all(mlx_vector_array* vector, const std::vector<ArrayHandle>& arrays) {
  const auto borrowed = borrow(arrays);
  check(mlx_vector_array_set_data(vector, borrowed.data(), borrowed.size()));
}

}  // namespace mlx_nif
