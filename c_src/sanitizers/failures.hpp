// Evaluations that fail, beside others that do not.
#pragma once

namespace mlx_nif::stress {

// An error on a worker thread must reach the graph that it belongs to, and no other.
void failures_beside_healthy_graphs();

// All threads use the same graph, whose evaluation fails.
void failures_of_shared_graphs();

// Each thread has a stream where some evaluations fail after they were scheduled. They learn of it themselves, also
// when somebody else was told first, and so do those that rest on them; evaluations on other streams do not.
void late_failures();

// What is scheduled when MLX throws the failure of somebody else is scheduled again.
void disturbances();

}  // namespace mlx_nif::stress
