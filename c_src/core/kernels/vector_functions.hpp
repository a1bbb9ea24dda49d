// Functions of the elements of an array of f32 on an x86-64 CPU, many elements at once.
//
// MLX is compiled for the oldest processors, one element at a time with a call of the C library for each step of a
// polynomial. These compute the same steps with the vectors of newer ones, so that each bit of a result is the same.
#pragma once

#include <optional>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

enum class VectorFunction { exp, sigmoid };

// Nothing where MLX computes it: of other types, on other devices and processors, and where a derivative is taken, the
// function is mapped over an axis, or it is recorded for other shapes.
std::optional<mlx::core::array> vector_function(VectorFunction, const mlx::core::array& x, mlx::core::Stream);

// The softmax along the last axis. It has a first derivative; nothing where MLX computes it.
std::optional<mlx::core::array> vector_softmax(const mlx::core::array& x, mlx::core::Stream);

}  // namespace mlx_nif
