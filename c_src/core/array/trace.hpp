// Where an array is in the record of a function.
#pragma once

#include <cstdint>
#include <memory>

namespace mlx_nif {

class Tape;

// Where a program keeps an array while it runs.
using Register = std::uint32_t;

inline constexpr Register no_register = UINT32_MAX;

// An array's register on a tape, see core/recording/tape.hpp.
struct Trace {
  std::shared_ptr<Tape> tape;
  Register position = no_register;

  explicit operator bool() const { return tape != nullptr; }
};

}  // namespace mlx_nif
