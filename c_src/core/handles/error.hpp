// Errors of MLX as C++ exceptions.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace mlx_nif {

// What MLX refused or failed to do; becomes an `Mlx.Error`.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A wrong argument; becomes an `ArgumentError`.
class ArgumentError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

inline void require(bool condition, const char* message) {
  if (!condition) {
    throw ArgumentError(message);
  }
}

// A lock is held elsewhere, or the work is too long for a normal scheduler: the call has to run again on a dirty one.
struct NeedsDirtyScheduler {};

// An error that is reported for another function than the native one that was called.
struct ErrorOf {
  std::string function;
  std::exception_ptr error;
};

// Throws ArgumentError for nil in the place of an array.
[[noreturn]] void throw_nil_operand();

// Throws the message that mlx-c left behind when `status` is not 0.
void check(int status);

// What a function of mlx-c made. Throws the message that mlx-c left behind when that is nothing.
template <typename Owner>
Owner require_made(Owner owner) {
  if (!owner) {
    check(1);
  }
  return owner;
}

}  // namespace mlx_nif
