// The wait of a normal scheduler for arrays, which must not be kept for a millisecond.
#pragma once

#include "core/evaluation/unsettled_arrays.hpp"

namespace mlx_nif {

// Waits a short time for arrays that are scheduled. Throws NeedsDirtyScheduler when they need a longer one, and Error
// when the computation fails.
void wait_briefly(const UnsettledArrays& arrays);

}  // namespace mlx_nif
