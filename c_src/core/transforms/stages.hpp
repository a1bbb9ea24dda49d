// Programs that depend on values, with what is between loops, branches and calls compiled.
#pragma once

#include <memory>

#include "core/recording/program.hpp"

namespace mlx_nif {

// The program as something to run often: MLX compiles it, or else every sequence of its steps that does not depend on
// values. It is run `calls_before` times before.
std::shared_ptr<const Instruction> prepare(std::shared_ptr<const Program> program, int calls_before);

}  // namespace mlx_nif
