// Scheduling graphs, waiting for their values, and reading these.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "core/array.hpp"
#include "core/handle.hpp"

namespace mlx_nif {

// How long a caller may be kept.
enum class Patience {
  // A normal scheduler: microseconds. Throws NeedsDirtyScheduler when the work is more than that, or not done by then.
  none,
  // A dirty scheduler: until it is done.
  unlimited,
};

// Computes the arrays and waits for their values. Throws Error when the computation fails.
void evaluate(std::span<Array* const> arrays, Patience patience);

// Starts the computation of the arrays. What can fail on a worker thread is waited for, so that its error is raised.
void start_evaluation(std::span<Array* const> arrays, Patience patience);

// The value of the array in row-major order, in a handle that only the caller has.
ArrayHandle row_major_value(Array& array, Patience patience);

// The bytes of such a value.
std::span<const std::byte> bytes_of(mlx_array row_major);

// Waits until all that was scheduled on the stream is done, and what it used is freed.
void synchronize(mlx_stream stream);

// Runs what frees memory that streams may use, while nothing is being scheduled.
void between_schedules(const std::function<void()>& work);

// Schedules graphs; to be called `between_schedules`.
void schedule_outputs(mlx_vector_array outputs);

// Called when MLX is ready, and again when the process is about to end: nothing is scheduled any more while it ends.
void stop_scheduling_at_exit();

}  // namespace mlx_nif
