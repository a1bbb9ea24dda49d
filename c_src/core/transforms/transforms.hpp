// MLX's function transforms, as instructions: applied to arrays, they run a program in MLX's way.
#pragma once

#include <memory>
#include <vector>

#include "core/recording/program.hpp"
#include "core/transforms/vmap_rules.hpp"

namespace mlx_nif::transforms {

using ProgramPointer = std::shared_ptr<const Program>;
using InstructionPointer = std::shared_ptr<const Instruction>;

// The program itself.
InstructionPointer call(ProgramPointer program);

// Over primals, captured arrays and cotangents: the program's outputs, and the vector-Jacobian products for the
// primals.
InstructionPointer vjp(ProgramPointer program, std::size_t primal_count);

// Over primals, captured arrays and tangents: the outputs, and the Jacobian-vector products.
InstructionPointer jvp(ProgramPointer program, std::size_t primal_count);

// The outputs, and the gradients of the first, a scalar, for the inputs at `argument_numbers`, which ascend.
InstructionPointer value_and_grad(ProgramPointer program, std::vector<int> argument_numbers);

// The outputs of the program over slices of the inputs, stacked. An axis of -1 means that an input has no slices, or
// that an output is the same for all.
InstructionPointer vmap(ProgramPointer program, std::vector<int> input_axes, std::vector<int> output_axes);

// The outputs; what is between is computed again for the gradient.
InstructionPointer checkpoint(ProgramPointer program);

// The outputs, with a derivative given by other programs, which may be null. `vjp` takes inputs, cotangents and outputs
// and gives cotangents of the inputs; `jvp` takes inputs and a tangent for each input and gives tangents of the
// outputs. `vmap` says how it maps over axes.
InstructionPointer custom_function(ProgramPointer program, ProgramPointer vjp, ProgramPointer jvp,
                                   std::shared_ptr<VmapRules> vmap);

}  // namespace mlx_nif::transforms
