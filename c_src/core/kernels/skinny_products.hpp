// Products of a few rows and a matrix on CUDA, which read the matrix and little else.
//
// MLX computes those of quantized matrices at a fifth of the speed of the memory, and once for each row; those of
// others as fast as the memory for one row, and by cuBLAS, which is made for many, for several. The kernels of this
// library take up to eight rows for the price of one, and give each the same result in any company. The RMS norm that
// comes before a product, and the sum that comes after it, need no kernels of their own then.
//
// Nothing is returned where MLX computes it: on Metal and on a CPU, for more than eight rows, for small or unusual
// matrices, and where a derivative is taken, the product is mapped over an axis, or it is recorded for other shapes.
#pragma once

#include <optional>

#include "core/handles/mlx_objects.hpp"
#include "core/kernels/packed_matrix.hpp"

namespace mlx_nif {

// x @ matrix, where the matrix is the transpose of one that is stored by rows.
std::optional<mlx::core::array> skinny_product(const mlx::core::array& x, const mlx::core::array& matrix,
                                               mlx::core::Stream);

// The same of x and the transpose of a matrix of 4 bits an element.
std::optional<mlx::core::array> skinny_product(const mlx::core::array& x, const PackedMatrix& matrix,
                                               mlx::core::Stream);

// a + b, where one of them is such a product that is not computed yet.
std::optional<mlx::core::array> sum_with_skinny_product(const mlx::core::array& a, const mlx::core::array& b,
                                                        mlx::core::Stream);

}  // namespace mlx_nif
