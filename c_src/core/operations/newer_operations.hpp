// Operations of MLX that the pinned mlx-c has no function for, or none with all of the parameters.
#pragma once

#include <mlx/c/mlx.h>

// In the way of mlx-c's functions: an array that may be absent is a null array. They throw as well as return a status.
namespace mlx_nif {

// The sorted elements without repetition, in an array of `size` elements, and what else is asked for, in this order.
int unique(mlx_vector_array*, mlx_array a, int size, bool return_index, bool return_inverse, bool return_counts,
           mlx_array fill_value, mlx_stream);

// MLX makes a node for each frame that overlaps another, or for each time that the samples are mirrored; here frames
// and borders have to fit.
int fft_stft(mlx_array*, mlx_array x, int n_fft, int hop_length, int win_length, mlx_array window, bool center,
             const char* pad_mode, mlx_fft_norm norm, bool onesided, mlx_stream);
int fft_istft(mlx_array*, mlx_array spectrum, int n_fft, int hop_length, int win_length, mlx_array window, bool center,
              mlx_fft_norm norm, bool onesided, mlx_optional_int length, mlx_stream);

// The output and the state after it. MLX takes the shapes of the arrays for granted.
int fast_gated_delta_update(mlx_vector_array*, mlx_array queries, mlx_array keys, mlx_array values, mlx_array gates,
                            mlx_array beta, mlx_array initial_state, mlx_array mask, mlx_stream);

// With one scale for each matrix, which only nvfp4 on a GPU has.
int gather_qmm_scaled(mlx_array*, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, mlx_array lhs_indices,
                      mlx_array rhs_indices, bool transpose, mlx_optional_int group_size, mlx_optional_int bits,
                      const char* mode, mlx_array global_scale, bool sorted_indices, mlx_stream);

}  // namespace mlx_nif
