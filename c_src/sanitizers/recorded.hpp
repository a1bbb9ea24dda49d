// Recorded functions, their transforms, and compiled functions.
#pragma once

#include <string>

#include "core/transforms/compilation.hpp"
#include "core/transforms/control_flow.hpp"
#include "core/transforms/function_file.hpp"
#include "core/transforms/transforms.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {

// The square of its argument times the second one, recorded.
std::shared_ptr<const Program> square_times();

// So many operations on two arrays, by turns the product and the sum of the last result and the second array; and what
// they give for numbers.
std::shared_ptr<const Program> chain(int length);
float chained(int length, float x, float y);

// What a transformed function gives for arrays.
std::vector<Reference> run_recorded(const Instruction& instruction, std::initializer_list<Reference> arrays);

// A loop over a counter and a sum that adds the counter to the sum until that is a limit; in each round the host is
// called with the sum and gives it back.
std::shared_ptr<const Instruction> sum_up(float limit);

// What a program that depends on values gives, on this thread.
std::vector<Reference> execute(const Instruction& instruction, std::initializer_list<Reference> arrays);

// A function of `x` that adds an array to it which is in the file, from a file that is written and read.
std::shared_ptr<const Instruction> written_and_read(const std::string& path, const Reference& added);

}  // namespace mlx_nif::stress
