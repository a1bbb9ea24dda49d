// How much of the GPU's memory stays resident.
#pragma once

#include <cstddef>

namespace mlx_nif::wired_memory {

// Metal pages out what has not been used for a second, unless it is wired. Those who generate text ask for it while
// they do, and in force is the larger of what they need and of the limit that was set for all. These are to be called
// `between_schedules`, and do nothing without Metal.

// Sets the limit for all, and returns the one that was there before.
std::size_t set_limit(std::size_t bytes);

// What those who ask need together, in place of what they needed before.
void hold(std::size_t bytes);

// The limit in force.
std::size_t limit();

}  // namespace mlx_nif::wired_memory
