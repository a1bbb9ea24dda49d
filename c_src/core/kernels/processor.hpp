// The vectors that this processor has, beyond those that all of its kind have.
#pragma once

namespace mlx_nif {

// Of x86-64. Each comes with fused products and sums, and with a system that saves its registers.
struct Vectors {
  bool avx2 = false;
  bool avx512 = false;
};

Vectors vectors();

}  // namespace mlx_nif
