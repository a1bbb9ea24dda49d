// Arrays that are owned once more, and lists of arrays in C++ and in mlx-c.
#pragma once

#include <span>
#include <vector>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// The same array, owned once more. Null stays null.
ArrayHandle share(mlx_array array);

std::vector<mlx_array> borrow(std::span<const ArrayHandle> arrays);

ArrayVectorHandle vector_of(std::span<const mlx_array> arrays);
std::vector<ArrayHandle> elements_of(mlx_vector_array vector);

void append_all(std::vector<ArrayHandle>& results, mlx_vector_array arrays);
void set_all(mlx_vector_array* vector, const std::vector<ArrayHandle>& arrays);

}  // namespace mlx_nif
