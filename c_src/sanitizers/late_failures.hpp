// Nodes that fail after they were scheduled, as command buffers of a GPU do.
#pragma once

#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {

inline constexpr const char* late_message = "a task has failed";

// The value of the array, until the stream comes to it and fails.
Reference fails_late(const Reference& array, mlx_stream stream);

// The value of the array. The first time that it is scheduled, MLX throws what it throws at whoever schedules after a
// command buffer of somebody else has failed.
Reference disturbed_once(const Reference& array);

}  // namespace mlx_nif::stress
