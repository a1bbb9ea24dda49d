// How the process ends while its threads evaluate.
#pragma once

namespace mlx_nif {

// Called when MLX is ready, and again when the process is about to end: nothing is scheduled any more while it ends.
// `status_at_exit` gives the status that the process ends with, where the system does not, or null.
void stop_scheduling_at_exit(const int* status_at_exit);

}  // namespace mlx_nif
