// Numbers as operands.
#pragma once

#include <complex>
#include <cstdint>
#include <optional>
#include <variant>

#include "core/handles/handle.hpp"

namespace mlx_nif {

using Scalar = std::variant<bool, std::int64_t, std::uint64_t, double, std::complex<float>>;

// A 0-d array of exactly this type.
ArrayHandle make_scalar(const Scalar& value, mlx_dtype type);

// A 0-d array that takes its type from a peer as far as the number's kind allows, as in Python MLX: a boolean takes any
// type, an integer any but bool, a float any inexact one. Without a peer: bool, s32 (s64 when it does not fit), f32,
// c64. An integer that the peer's type does not hold is an ArgumentError.
ArrayHandle make_weak_scalar(const Scalar& value, std::optional<mlx_dtype> peer);

}  // namespace mlx_nif
