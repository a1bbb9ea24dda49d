// Products with packed matrices, whose outputs several threads compute.
#pragma once

namespace mlx_nif::stress {

void products_of_packed_matrices();

}  // namespace mlx_nif::stress
