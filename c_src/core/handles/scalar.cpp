// How a number becomes an element of each of MLX's types.
#include "core/handles/scalar.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

// Truncates the mantissa with rounding to nearest, ties to even.
std::uint16_t to_bfloat16(float value) {
  if (std::isnan(value)) {
    return 0x7fc0;
  }
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename Number>
Number real(const Scalar& value) {
  return std::visit(
      [](auto number) -> Number {
        if constexpr (std::is_same_v<decltype(number), std::complex<float>>) {
          return static_cast<Number>(number.real());
        } else {
          return static_cast<Number>(number);
        }
      },
      value);
}

// Wraps around as in MLX; C++ leaves a float outside of the type's range undefined.
template <typename Integer>
Integer integer(const Scalar& value) {
  if (const double* number = std::get_if<double>(&value)) {
    if (!(*number > -9.3e18 && *number < 9.2e18)) {
      return std::isnan(*number)
                 ? 0
                 : (*number < 0 ? std::numeric_limits<Integer>::min() : std::numeric_limits<Integer>::max());
    }
    return static_cast<Integer>(static_cast<std::int64_t>(*number));
  }
  return real<Integer>(value);
}

template <typename Element>
ArrayHandle make(Element element, mlx_dtype type) {
  return require_made(ArrayHandle(mlx_array_new_data(&element, nullptr, 0, type)));
}

bool inexact(mlx_dtype type) {
  switch (type) {
    case MLX_FLOAT16:
    case MLX_FLOAT32:
    case MLX_FLOAT64:
    case MLX_BFLOAT16:
    case MLX_COMPLEX64:
      return true;
    default:
      return false;
  }
}

mlx_dtype own_type(const Scalar& value) {
  if (std::holds_alternative<bool>(value)) {
    return MLX_BOOL;
  }
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    const bool fits =
        *number >= std::numeric_limits<std::int32_t>::min() && *number <= std::numeric_limits<std::int32_t>::max();
    return fits ? MLX_INT32 : MLX_INT64;
  }
  if (std::holds_alternative<std::uint64_t>(value)) {
    return MLX_UINT64;
  }
  return std::holds_alternative<double>(value) ? MLX_FLOAT32 : MLX_COMPLEX64;
}

template <typename Integer>
bool fits(const Scalar& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    return std::in_range<Integer>(*number);
  }
  return std::in_range<Integer>(std::get<std::uint64_t>(value));
}

// An integer beside an array of integers of less than 64 bits has to be one of theirs.
void check_range(const Scalar& value, mlx_dtype type) {
  const bool in_range = [&] {
    switch (type) {
      case MLX_UINT8:
        return fits<std::uint8_t>(value);
      case MLX_UINT16:
        return fits<std::uint16_t>(value);
      case MLX_UINT32:
        return fits<std::uint32_t>(value);
      case MLX_INT8:
        return fits<std::int8_t>(value);
      case MLX_INT16:
        return fits<std::int16_t>(value);
      case MLX_INT32:
        return fits<std::int32_t>(value);
      default:
        return true;
    }
  }();
  if (!in_range) {
    throw ArgumentError("an integer does not fit in the type of the array beside it");
  }
}

}  // namespace

ArrayHandle make_scalar(const Scalar& value, mlx_dtype type) {
  switch (type) {
    case MLX_BOOL:
      return make(real<double>(value) != 0, type);
    case MLX_UINT8:
      return make(integer<std::uint8_t>(value), type);
    case MLX_UINT16:
      return make(integer<std::uint16_t>(value), type);
    case MLX_UINT32:
      return make(integer<std::uint32_t>(value), type);
    case MLX_UINT64:
      return make(integer<std::uint64_t>(value), type);
    case MLX_INT8:
      return make(integer<std::int8_t>(value), type);
    case MLX_INT16:
      return make(integer<std::int16_t>(value), type);
    case MLX_INT32:
      return make(integer<std::int32_t>(value), type);
    case MLX_INT64:
      return make(integer<std::int64_t>(value), type);
    case MLX_FLOAT16:
      return make(static_cast<_Float16>(real<float>(value)), type);
    case MLX_FLOAT32:
      return make(real<float>(value), type);
    case MLX_FLOAT64:
      return make(real<double>(value), type);
    case MLX_BFLOAT16:
      return make(to_bfloat16(real<float>(value)), type);
    case MLX_COMPLEX64: {
      const auto* number = std::get_if<std::complex<float>>(&value);
      return make(number != nullptr ? *number : std::complex<float>(real<float>(value), 0), type);
    }
  }
  throw Error("unknown type");
}

ArrayHandle make_weak_scalar(const Scalar& value, std::optional<mlx_dtype> peer) {
  const mlx_dtype own = own_type(value);
  if (!peer || own == MLX_COMPLEX64 || (own == MLX_FLOAT32 && !inexact(*peer))) {
    return make_scalar(value, own);
  }
  if (own == MLX_BOOL || own == MLX_FLOAT32) {
    return make_scalar(value, *peer);
  }
  if (*peer == MLX_BOOL) {
    return make_scalar(value, own);
  }
  check_range(value, *peer);
  return make_scalar(value, *peer);
}

}  // namespace mlx_nif
