// Kernels that are made while functions are computed that want them.
#pragma once

namespace mlx_nif::stress {

// Threads call compiled functions whose kernels are made meanwhile, while one changes where kernels are made and has
// the maker stop. Every value is the same with a kernel and without. Without a C++ compiler nothing is fused.
void kernels_made_in_the_background();

}  // namespace mlx_nif::stress
