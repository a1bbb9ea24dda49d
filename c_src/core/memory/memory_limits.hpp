// How much memory MLX takes, and how much of it MLX keeps, which MLX itself does not tell.
#pragma once

#include <cstddef>

namespace mlx_nif {

// What the machine has room for, by which MLX begins.
std::size_t memory_limit_at_start();

// MLX's memory limit in bytes, which only `set_memory_limit` changes. MLX waits and empties its cache where it is
// exceeded, and never fails.
std::size_t memory_limit();

// Returns the limit that was there before. Scheduling reads it: to be called `between_schedules`.
std::size_t set_memory_limit(std::size_t bytes);

// How many bytes of free buffers MLX keeps, which only `set_cache_limit` changes. MLX itself does not tell.
std::size_t cache_limit();

// Returns the limit that was there before. To be called `while_cpu_streams_rest`.
std::size_t set_cache_limit(std::size_t bytes);

}  // namespace mlx_nif
