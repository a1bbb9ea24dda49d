// Operations of which several threads compute pieces.
#pragma once

namespace mlx_nif::stress {

void products_of_packed_matrices();
void convolutions_of_patches();

}  // namespace mlx_nif::stress
