// Programs that depend on values, with what is between loops, branches and calls compiled.
#pragma once

#include "core/recording/program.hpp"

namespace mlx_nif {

// The program as something to run often: MLX compiles it, or else every sequence of its steps that does not depend on
// values. It is run `calls_before` times before.
std::shared_ptr<const Instruction> compile_where_possible(std::shared_ptr<const Program> program, int calls_before);

}  // namespace mlx_nif
