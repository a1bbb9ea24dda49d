// Operations that stop the process, or read memory that is not theirs, for some arguments; here they refuse those.
#pragma once

#include <mlx/c/mlx.h>

#include <functional>
#include <initializer_list>
#include <span>

#include "core/handles/handle.hpp"

// Each has the signature of the mlx-c function that it guards. They throw as well as return a status.
namespace mlx_nif::guarded {

// Convolutions divide by the groups and channels, compute with padded sizes of 32 bits, and take more memory than their
// result. The others are the general one.
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

// MLX divides by the bits and the group size, and takes it for granted that each row of weights has its scales. It maps
// no 8-bit floats: there the numbers are looked up.
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

// An update of the part of `a` where `place(onto, values)` puts values, in a way that can be mapped over axes of
// either.
using Place = std::function<ArrayHandle(mlx_array onto, mlx_array values)>;
using Combine = int(mlx_array*, mlx_array a, mlx_array update, mlx_stream);
int update_by_mask(mlx_array*, mlx_array a, mlx_array update, const Place& place, Combine& combine, mlx_stream);

// The update itself: `combine` for values that are put in the place of others.
Combine replace_by_update;

// Throws for an axis that the array does not have.
void check_axes(mlx_array a, std::span<const int> axes);

// The step of a slice is a divisor.
int slice(mlx_array*, mlx_array a, const int* start, size_t start_count, const int* stop, size_t stop_count,
          const int* strides, size_t strides_count, mlx_stream);
// Mapped over an axis of the array but not of the update, MLX only updates the first slice.
using SliceUpdate = int(mlx_array*, mlx_array a, mlx_array update, const int* start, size_t start_count,
                        const int* stop, size_t stop_count, const int* strides, size_t strides_count, mlx_stream);
SliceUpdate slice_update, slice_update_add, slice_update_max, slice_update_min, slice_update_prod;

// MLX uses these axes without a look at the rank.
int number_of_elements(mlx_array*, mlx_array a, const int* axes, size_t axes_count, bool inverted, mlx_dtype dtype,
                       mlx_stream);

// Without elements along the axis, MLX makes any number of arrays.
int split(mlx_vector_array*, mlx_array a, int count, int axis, mlx_stream);

// MLX makes a graph of `n` differences; from the size of the axis on they are empty.
int diff(mlx_array*, mlx_array a, int n, int axis, mlx_stream);

// MLX sums the elements of an empty diagonal for ever.
int trace(mlx_array*, mlx_array a, mlx_stream);
int trace_axes(mlx_array*, mlx_array a, int offset, int axis1, int axis2, mlx_dtype dtype, mlx_stream);

// What is taken from nothing.
int masked_scatter(mlx_array*, mlx_array a, mlx_array mask, mlx_array source, mlx_stream);
int depends(mlx_vector_array*, mlx_vector_array inputs, mlx_vector_array dependencies);
int linalg_lu(mlx_vector_array*, mlx_array a, mlx_stream);
int linalg_lu_factor(mlx_array*, mlx_array*, mlx_array a, mlx_stream);

// LAPACK looks for eigenvalues of a matrix with NaN or an infinity for ever; here they are NaN.
int linalg_eig(mlx_array*, mlx_array*, mlx_array a, mlx_stream);
int linalg_eigvals(mlx_array*, mlx_array a, mlx_stream);

}  // namespace mlx_nif::guarded
