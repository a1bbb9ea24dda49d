// Convolutions: MLX divides by the groups and channels, computes with padded sizes of 32 bits, and takes more memory
// than the result has.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// The others are the general one.
int conv_general(mlx_array*, mlx_array input, mlx_array weight, const int* stride, size_t stride_count,
                 const int* padding_lo, size_t padding_lo_count, const int* padding_hi, size_t padding_hi_count,
                 const int* kernel_dilation, size_t kernel_dilation_count, const int* input_dilation,
                 size_t input_dilation_count, int groups, bool flip, mlx_stream);
int conv1d(mlx_array*, mlx_array input, mlx_array weight, int stride, int padding, int dilation, int groups,
           mlx_stream);
int conv2d(mlx_array*, mlx_array input, mlx_array weight, int stride_0, int stride_1, int padding_0, int padding_1,
           int dilation_0, int dilation_1, int groups, mlx_stream);
int conv3d(mlx_array*, mlx_array input, mlx_array weight, int stride_0, int stride_1, int stride_2, int padding_0,
           int padding_1, int padding_2, int dilation_0, int dilation_1, int dilation_2, int groups, mlx_stream);
int conv_transpose1d(mlx_array*, mlx_array input, mlx_array weight, int stride, int padding, int dilation,
                     int output_padding, int groups, mlx_stream);
int conv_transpose2d(mlx_array*, mlx_array input, mlx_array weight, int stride_0, int stride_1, int padding_0,
                     int padding_1, int dilation_0, int dilation_1, int output_padding_0, int output_padding_1,
                     int groups, mlx_stream);
int conv_transpose3d(mlx_array*, mlx_array input, mlx_array weight, int stride_0, int stride_1, int stride_2,
                     int padding_0, int padding_1, int padding_2, int dilation_0, int dilation_1, int dilation_2,
                     int output_padding_0, int output_padding_1, int output_padding_2, int groups, mlx_stream);

}  // namespace mlx_nif::guarded
