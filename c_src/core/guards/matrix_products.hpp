// Products of matrices, also of those that are quantized, that indices pick from others, or that something is added to.
//
// MLX takes indices below 0 for ones far beyond the end, where these count from the end. On a CPU it adds up in 16 bits
// what has 16 bits, where these add in f32. And it cannot map them over axes: there they are products with matrices
// that are unpacked and picked first. On CUDA, products of a few rows have kernels of this library.
#pragma once

#include <mlx/c/mlx.h>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// MLX maps the summand by its first axes, where the product has other ones.
int addmm(mlx_array*, mlx_array c, mlx_array a, mlx_array b, float alpha, float beta, mlx_stream);

int matmul(mlx_array*, mlx_array a, mlx_array b, mlx_stream);

// Also of what is no product.
int add(mlx_array*, mlx_array a, mlx_array b, mlx_stream);

int gather_mm(mlx_array*, mlx_array a, mlx_array b, mlx_array lhs_indices, mlx_array rhs_indices, bool sorted_indices,
              mlx_stream);
int quantized_matmul(mlx_array*, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, bool transpose,
                     mlx_optional_int group_size, mlx_optional_int bits, const char* mode, mlx_stream);
// With the transpose of an affine matrix, by a kernel of this library where it has one, which adds up in another order.
int packed_matmul(mlx_array*, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, int group_size, int bits,
                  mlx_stream);
int gather_qmm(mlx_array*, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, mlx_array lhs_indices,
               mlx_array rhs_indices, bool transpose, mlx_optional_int group_size, mlx_optional_int bits,
               const char* mode, mlx_array global_scale, bool sorted_indices, mlx_stream);
int gather_qqmm(mlx_array*, mlx_array x, mlx_array w, mlx_array scales_w, mlx_array lhs_indices, mlx_array rhs_indices,
                mlx_optional_int group_size, mlx_optional_int bits, const char* mode, mlx_array global_scale_x,
                mlx_array global_scale_w, bool sorted_indices, mlx_stream);

}  // namespace mlx_nif::guarded
