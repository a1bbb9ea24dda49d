// The wait of a normal scheduler for arrays, which must not be kept for a millisecond.
#pragma once

#include <span>

#include "core/evaluation/unsettled_arrays.hpp"
#include "core/handles/handle.hpp"

namespace mlx_nif {

// Waits a short time for arrays that are scheduled. Throws NeedsDirtyScheduler when they need a longer one, and Error
// when the computation fails.
void wait_briefly(const UnsettledArrays& arrays);

// Asks a short time whether arrays on a GPU are there, which are this thread's alone: to sleep until its driver wakes a
// thread takes longer than most of what is waited for.
void spin_until_arrival(std::span<const ArrayHandle> arrays);

}  // namespace mlx_nif
