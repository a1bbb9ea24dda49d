// What an operation takes over from the arrays that it is applied to.
#pragma once

#include <span>

#include "core/array/array.hpp"
#include "core/handles/error.hpp"
#include "core/recording/tape.hpp"

namespace mlx_nif {

// The tape that an operation over the arrays belongs to, or null. Throws when one of them has no value and its tape has
// ended.
inline Tape* innermost_tape(std::span<Array* const> arrays) {
  Tape* innermost = nullptr;
  for (const Array* array : arrays) {
    Tape* tape = array->trace().tape.get();
    if (tape == nullptr) {
      continue;
    }
    if (!tape->recording()) {
      if (!array->has_value()) {
        throw Error(tape->ended_message());
      }
      continue;
    }
    if (innermost == nullptr || tape->order() > innermost->order()) {
      innermost = tape;
    }
  }
  return innermost;
}

// What a result, recorded on `tape` if that is not null, has from an array that it is computed from.
inline void inherit(NodeTraits& traits, const Array& array, Tape* tape) {
  traits.fallible |= array.fallible() && !array.settled();
  if (!array.has_value()) {
    traits.valueless = true;
    if (tape != nullptr) {
      tape->take_valueless(array);
    }
  }
}

}  // namespace mlx_nif
