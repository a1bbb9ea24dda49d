// What integers of each type can be.
#pragma once

#include <mlx/c/mlx.h>

#include <cstdint>
#include <optional>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// The range of an integer type, as far as 64 bits hold it.
struct IntegerRange {
  std::int64_t lowest;
  std::int64_t highest;
};

// Nothing for types that are not integers; MLX refuses those as indices.
std::optional<IntegerRange> integer_range(mlx_dtype type);

bool is_signed(mlx_array array);

// The number in the type of the array.
ArrayHandle scalar_like(std::int64_t value, mlx_array array);

}  // namespace mlx_nif
