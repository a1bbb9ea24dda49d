// Whether derivatives of what is made will be needed.
#pragma once

namespace mlx_nif {

// MLX is running a program on this thread to differentiate it.
bool differentiating();

// It differentiates a derivative.
bool differentiating_twice();

// While it lives.
class Differentiating {
 public:
  Differentiating();
  ~Differentiating();
  Differentiating(const Differentiating&) = delete;
  Differentiating& operator=(const Differentiating&) = delete;
};

}  // namespace mlx_nif
