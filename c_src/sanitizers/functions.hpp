// Recorded functions that all threads call.
#pragma once

namespace mlx_nif::stress {

// One transformed function is applied by all threads, to graphs of their own and to a shared one.
void transformed_functions();

// Threads call compiled functions, whose first call compiles, and drop them.
void compiled_functions();

// All threads run one loop, over arrays of their own and over one that is not evaluated at first.
void loops();

// All threads call one function from a file, the first of them before its array is read.
void imported_functions();

}  // namespace mlx_nif::stress
