// The record of a function while it runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/recording/program.hpp"

namespace mlx_nif {

class Array;

// A transform calls the user's function with placeholder arrays. An operation that has one of them, or a result of one,
// among its inputs is appended to the tape; what else it uses becomes a constant or a captured array. A function that
// is transformed inside of another has a tape of its own, and an operation belongs to the innermost tape of its inputs.
class Tape : public std::enable_shared_from_this<Tape> {
 public:
  // `transform`: its public name.
  explicit Tape(std::string transform);

  const std::string& transform() const { return transform_; }
  bool recording() const { return recording_.load(std::memory_order_acquire); }

  // A tape that began later is an inner one.
  std::uint64_t order() const { return order_; }

  Register add_input();

  // Makes an owner of an array that a caller only holds for the length of a call.
  using Share = std::shared_ptr<Array>(Array&);

  // An operand of an operation: by the register that it has on this tape, or else captured.
  Register register_of(Array& array, Share& share);
  // An operand that is a number.
  Register add_constant(ArrayHandle constant);

  // Returns the register of the first result.
  Register add_step(std::shared_ptr<const Instruction> instruction, std::vector<Register> inputs,
                    std::size_t result_count);

  struct Recorded {
    std::shared_ptr<const Program> program;
    // What the function used from outside: the program's last inputs.
    std::vector<std::shared_ptr<Array>> captured;
  };
  Recorded finish(std::span<Array* const> outputs, Share& share);

  // Ends the recording without a program.
  void abandon();

  // An array that has no value, see NodeTraits, came in from the outside: the name of the transform whose it is.
  void take_valueless(const Array& array);
  std::string withholds_values() const;

  // Why an array without a value cannot be used after the end.
  std::string ended_message() const;

 private:
  Register new_register() { return static_cast<Register>(parts_.register_count++); }
  Register find_register(Array& array, Share& share);
  void require_recording() const;

  const std::string transform_;
  const std::uint64_t order_;
  std::atomic<bool> recording_{true};

  // The function may hand arrays to other processes.
  mutable std::mutex mutex_;
  Program::Parts parts_;
  std::string withholds_values_;
  std::vector<std::shared_ptr<Array>> captured_;
  std::unordered_map<const Array*, Register> captured_registers_;
};

}  // namespace mlx_nif
