// Functions of many elements, by the vectors of this processor.
#pragma once

#include <cstddef>

namespace mlx_nif {

// The results of so many elements. Where they begin at the same place, the results replace the elements.
using VectorLoop = void(const float* elements, float* results, std::size_t count);

// The functions for this processor. Null where it has no vectors of eight elements with fused products and sums.
struct VectorLoops {
  VectorLoop* exp = nullptr;
  VectorLoop* sigmoid = nullptr;
  // Of the elements as one row.
  VectorLoop* softmax = nullptr;
};

VectorLoops vector_loops();

}  // namespace mlx_nif
