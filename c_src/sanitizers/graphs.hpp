// Graphs that threads build, evaluate and drop, alone and together.
#pragma once

namespace mlx_nif::stress {

// Graphs of one thread each have only values in common.
void own_graphs_over_shared_values();

// Every thread builds on arrays that are not evaluated, joins their graphs, evaluates what it likes of them, and drops
// the rest while others evaluate.
void shared_graphs();

// Arrays go from thread to thread, as in messages, and are dropped by whoever has them last.
void arrays_passed_on();

// Values are passed on and used up: MLX writes into the buffer of an input that nobody else holds.
void values_used_up();

// An evaluation is started, and the thread goes on with the arrays that it has not computed yet.
void building_on_arrays_in_flight();

// One thread's evaluation in flight is another's operand.
void sharing_arrays_in_flight();

// As on CUDA, where a GPU may not wait for a CPU stream.
void waiting_for_inputs_in_flight();

void one_array_read_by_all();

// Outputs of one operation know each other inside MLX.
void siblings_dropped_by_different_threads();

// Threads use an array while one of them deallocates it.
void deallocation_of_arrays_in_use();

// Graphs that are too large to be freed at once, or whose lock is held, are left to the reaper, which may be stopped
// and starts again.
void graphs_dropped_unevaluated();

}  // namespace mlx_nif::stress
