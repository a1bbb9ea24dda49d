// What MLX reads from the variables of the environment.
#pragma once

namespace mlx_nif {

// Gives the variables that the user has not set the values that suit a long-running virtual machine. Before MLX starts.
void set_environment_defaults();

}  // namespace mlx_nif
