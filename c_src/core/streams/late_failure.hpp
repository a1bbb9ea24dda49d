// Computations that fail after they were scheduled: a command buffer that runs out of memory or takes too long on a
// GPU, a task on the thread of a CPU stream.
#pragma once

#include <mlx/c/mlx.h>

#include <span>
#include <string>
#include <string_view>

namespace mlx_nif {

// MLX gives the message of such an error to whoever asks the stream first, who may be somebody else, and then forgets
// it. What it does not forget is a mark on the event of every array that the error reached. These functions read the
// mark, so that each evaluation learns of its own failure.

// Finds out where this build of MLX has the mark, which no function of it tells; with a CPU stream that nobody uses
// yet. False when it is in no known place: then only the first who asks learns of a failure.
bool find_failure_marks(mlx_stream unused_cpu_stream);
bool failure_marks_found();

// What a mark says. It covers all that was on the stream, so where it comes from an operation that is known to fail,
// such as an inverse, the arrays that do not rest on this operation are right all the same.
enum class Mark { means_failure, is_explained };

// Whether the value of the array is there. Throws Error when it never will be. Under the lock of its graph.
bool has_arrived(mlx_array array, Mark mark = Mark::means_failure);

// Waits for the value of an array that was scheduled, and throws Error when it could not be computed. On an array that
// only the caller reaches, or that is there already.
void wait_for_arrival(mlx_array array, Mark mark = Mark::means_failure);

// The outputs, not all of them scheduled, are to be computed from an array that failed late.
bool rests_on_late_failure(std::span<const mlx_array> outputs);

// The message says that a command buffer failed, of whatever evaluation: it is not about the call that it came from.
bool is_of_some_command_buffer(std::string_view message);

// Keeps a message for those who will only see the mark.
void remember_late_failure(std::string message);
std::string last_late_failure();

}  // namespace mlx_nif
