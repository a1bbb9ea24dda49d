// Processes that end while others collect them and use their arrays.
#pragma once

namespace mlx_nif::stress {

// Processes make arrays, ask servers for others, and end before the reply or after it. Meanwhile a collector asks what
// they hold, as Mlx.Values.Garbage.Collector does. In the end nothing is held.
void processes_collected_while_they_end();

}  // namespace mlx_nif::stress
