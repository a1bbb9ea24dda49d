// How much of the GPU's memory stays resident.
#pragma once

#include <cstddef>

namespace mlx_nif::wired_memory {

// Metal pages out what has not been used for a second, unless it is wired. Those who generate text ask for it while
// they do, and in force is the largest of their limits and of the one that was set for all. These are to be called
// `between_schedules`, and do nothing without Metal.

// Sets the limit for all, and returns the one that was there before.
std::size_t set_limit(std::size_t bytes);

// Asks for a limit, until the same is released.
void hold(std::size_t bytes);
void release(std::size_t bytes);

// The limit in force.
std::size_t limit();

}  // namespace mlx_nif::wired_memory
