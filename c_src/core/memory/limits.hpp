// Arrays that cannot exist.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <cstdint>

namespace mlx_nif {

// Of the elements, as if each had memory of its own; the largest number if it overflows.
std::uint64_t size_in_bytes(mlx_array array);

// The array's elements would take more than `array_limit`.
bool is_oversized(mlx_array array);

// Throws Error for such an array. MLX itself only finds out when it uses the memory that it did not get.
void check_size(mlx_array array);

// The bytes that the elements of one array may take: MLX's memory limit at the start, until it is set.
std::size_t array_limit();

// Returns the limit that was there before.
std::size_t set_array_limit(std::size_t bytes);

// MLX's memory limit in bytes, which only `set_memory_limit` changes. MLX waits and empties its cache where it is
// exceeded, and never fails.
std::size_t memory_limit();

// Returns the limit that was there before. Scheduling reads it: to be called `between_schedules`.
std::size_t set_memory_limit(std::size_t bytes);

// How many bytes of free buffers MLX keeps, which only `set_cache_limit` changes. MLX itself does not tell.
std::size_t cache_limit();

// Returns the limit that was there before. To be called `between_schedules`.
std::size_t set_cache_limit(std::size_t bytes);

// At the start: sets how many free buffers MLX keeps for later arrays. By itself it keeps 32 MB on a CPU, less than a
// step of a small model uses, while new memory from the system costs more than many a computation. On Metal it keeps
// all of the memory that the machine has, which others need, too.
void keep_free_buffers();

// Lowers all limits to what a process may use that gets so many bytes of the machine's memory, where that is less. To
// be called `between_schedules`.
void keep_within_room(std::size_t room);

}  // namespace mlx_nif
