// How the limits follow from the memory of the machine.
#pragma once

#include <cstddef>

namespace mlx_nif {

// At the start: sets how many free buffers MLX keeps for later arrays. By itself it keeps 32 MB on a CPU, less than a
// step of a small model uses, while new memory from the system costs more than many a computation. On Metal it keeps
// all of the memory that the machine has, which others need, too.
void keep_free_buffers();

// At the start: has glibc keep what is freed, for the whole process.
void keep_free_mappings();

// Lowers all limits to what a process may use that gets so many bytes of the machine's memory, where that is less. To
// be called `while_cpu_streams_rest`.
void keep_within_room(std::size_t room);

}  // namespace mlx_nif
