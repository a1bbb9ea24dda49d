// Lists the ranges of the integer types, of which 64 bits hold all but the upper half of u64.
#include "core/guards/integer_types.hpp"

#include <limits>

#include "core/handles/scalar.hpp"

namespace mlx_nif {
namespace {

template <typename Integer>
constexpr IntegerRange range_of() {
  return {static_cast<std::int64_t>(std::numeric_limits<Integer>::min()),
          sizeof(Integer) == 8 ? std::numeric_limits<std::int64_t>::max()
                               : static_cast<std::int64_t>(std::numeric_limits<Integer>::max())};
}

}  // namespace

std::optional<IntegerRange> integer_range(mlx_dtype type) {
  switch (type) {
    case MLX_UINT8:
      return range_of<std::uint8_t>();
    case MLX_UINT16:
      return range_of<std::uint16_t>();
    case MLX_UINT32:
      return range_of<std::uint32_t>();
    case MLX_UINT64:
      return range_of<std::uint64_t>();
    case MLX_INT8:
      return range_of<std::int8_t>();
    case MLX_INT16:
      return range_of<std::int16_t>();
    case MLX_INT32:
      return range_of<std::int32_t>();
    case MLX_INT64:
      return range_of<std::int64_t>();
    default:
      return std::nullopt;
  }
}

bool is_signed(mlx_array array) {
  const auto range = integer_range(mlx_array_dtype(array));
  return range && range->lowest < 0;
}

ArrayHandle scalar_like(std::int64_t value, mlx_array array) {
  return make_scalar(Scalar(value), mlx_array_dtype(array));
}

}  // namespace mlx_nif
