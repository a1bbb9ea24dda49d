// Transforms of f64 where the default device has none, as no GPU has.
#pragma once

namespace mlx_nif::stress {

// Fails for each node on a stream that stands for a GPU's.
void doubles_beside_a_gpu();

}  // namespace mlx_nif::stress
