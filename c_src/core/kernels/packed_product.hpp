// Products with the transpose of a packed matrix on a CPU.
//
// MLX unpacks one element after the other, on one core, once for each row of the factor. This library unpacks a few
// rows of the matrix at a time with the vectors of the processor, multiplies all rows of the factor by them, adds up in
// f32, and divides the outputs among the cores. So a model takes as much memory as its packed matrices, and one token
// reads no more than these. Each row of a factor has the same result alone and among others.
#pragma once

#include <optional>

#include "core/handles/mlx_objects.hpp"
#include "core/kernels/packed_matrix.hpp"

namespace mlx_nif {

// Nothing where MLX computes it: on a GPU, with another number of bits than 4 or 8, for columns that are no multiple of
// 64, and where a derivative is taken, the product is mapped over an axis, or it is recorded for other shapes.
std::optional<mlx::core::array> packed_product(const mlx::core::array& x, const PackedMatrix& matrix,
                                               mlx::core::Stream);

}  // namespace mlx_nif
