// LAPACK's way to report an argument that it does not like.
#include <cstddef>

// The one of the reference LAPACK, which comes with MLX on Linux, prints a line and ends the process. The dynamic
// linker prefers this one, and what the caller gets is the error that LAPACK's functions return as well.
extern "C" __attribute__((visibility("default"))) void xerbla_(const char*, const int*, std::size_t) {}
