// Quantized matrices: MLX divides by the bits and the group size, and takes it for granted that each row of weights has
// its scales. It maps no 8-bit floats: there the numbers are looked up.
#pragma once

#include <mlx/c/mlx.h>

#include <initializer_list>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

int quantize(mlx_vector_array*, mlx_array w, mlx_optional_int group_size, mlx_optional_int bits, const char* mode,
             mlx_array global_scale, mlx_stream);
int dequantize(mlx_array*, mlx_array w, mlx_array scales, mlx_array biases, mlx_optional_int group_size,
               mlx_optional_int bits, const char* mode, mlx_array global_scale, mlx_optional_dtype dtype, mlx_stream);
int qqmm(mlx_array*, mlx_array x, mlx_array w, mlx_array scales, mlx_optional_int group_size, mlx_optional_int bits,
         const char* mode, mlx_array global_scale_x, mlx_array global_scale_w, mlx_stream);

int from_fp8(mlx_array*, mlx_array x, mlx_dtype dtype, mlx_stream);

// Arguments of a product with quantized weights: throw for those that MLX must not get.
void check_quantization(mlx_optional_int group_size, mlx_optional_int bits);
void check_quantized(mlx_array w, mlx_array scales);
// For `f64` the computation fails on a thread of MLX, and the error reaches whoever reads a value next.
void check_factors(std::initializer_list<mlx_array> factors);

}  // namespace mlx_nif::guarded
