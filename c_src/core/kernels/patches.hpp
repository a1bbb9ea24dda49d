// Convolutions of f32 on a CPU, as products of matrices: one has a row for each patch of the input that the kernel
// sees.
//
// MLX makes patches one element at a time, and where the elements of the input have gaps between them, as in the
// derivative of a convolution with steps, it multiplies one element at a time, too. These patches are copied by rows of
// channels on all cores, with gaps as well.
#pragma once

#include <vector>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

// A value for each spatial axis. A batch of N inputs has the shape {N, spatial..., channels}, the weights
// {output channels, spatial..., channels}.
struct PatchGeometry {
  std::vector<int> stride;
  std::vector<int> padding_low;
  std::vector<int> padding_high;
  std::vector<int> kernel_dilation;
  std::vector<int> input_dilation;
  bool flip;
};

// Whether such a convolution of one group is made of patches: on a CPU, of f32, with elements, and with nothing cut off
// by negative padding.
bool is_of_patches(const mlx::core::array& input, const mlx::core::array& weight, const PatchGeometry&,
                   mlx::core::Stream);

// The result {N, spatial..., output channels}. It has a first derivative.
mlx::core::array convolve_patches(const mlx::core::array& input, const mlx::core::array& weight, const PatchGeometry&,
                                  mlx::core::Stream);

}  // namespace mlx_nif
