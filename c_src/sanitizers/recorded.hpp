// Recorded functions, their transforms, and compiled functions.
#pragma once

#include "core/compilation.hpp"
#include "core/transforms.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {

// The square of its argument times the second one, recorded.
std::shared_ptr<const Program> square_times();

// What a transformed function gives for arrays.
std::vector<Reference> run_recorded(const Instruction& instruction, std::initializer_list<Reference> arrays);

}  // namespace mlx_nif::stress
