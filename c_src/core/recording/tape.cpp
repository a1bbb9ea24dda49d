// Gives registers to the arrays of a function while it is recorded, and makes a program of the steps.
#include "core/recording/tape.hpp"

#include <utility>

#include "core/array/array.hpp"
#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

std::atomic<std::uint64_t> tapes_begun{0};

}  // namespace

Tape::Tape(std::string transform) : transform_(std::move(transform)), order_(tapes_begun.fetch_add(1)) {}

Register Tape::add_input() {
  const std::lock_guard lock(mutex_);
  return parts_.inputs.emplace_back(new_register());
}

Register Tape::register_of(Array& array, Share& share) {
  const std::lock_guard lock(mutex_);
  return find_register(array, share);
}

Register Tape::find_register(Array& array, Share& share) {
  if (array.trace().tape.get() == this) {
    return array.trace().position;
  }
  const auto [found, inserted] = captured_registers_.try_emplace(&array, no_register);
  if (inserted) {
    found->second = new_register();
    captured_.push_back(share(array));
  }
  return found->second;
}

Register Tape::add_constant(ArrayHandle constant) {
  const std::lock_guard lock(mutex_);
  return parts_.constants.emplace_back(new_register(), std::move(constant)).first;
}

Register Tape::add_step(std::shared_ptr<const Instruction> instruction, std::vector<Register> inputs,
                        std::size_t result_count) {
  const std::lock_guard lock(mutex_);
  require_recording();
  const auto first_result = static_cast<Register>(parts_.register_count);
  parts_.register_count += result_count;
  parts_.steps.push_back({std::move(instruction), std::move(inputs), first_result, result_count});
  return first_result;
}

Tape::Recorded Tape::finish(std::span<Array* const> outputs, Share& share) {
  const std::lock_guard lock(mutex_);
  require_recording();
  for (Array* output : outputs) {
    parts_.outputs.push_back(find_register(*output, share));
  }
  for (const auto& array : captured_) {
    parts_.inputs.push_back(captured_registers_.at(array.get()));
  }
  recording_.store(false, std::memory_order_release);
  parts_.name = transform_;
  return {std::make_shared<const Program>(std::move(parts_)), std::move(captured_)};
}

void Tape::abandon() {
  const std::lock_guard lock(mutex_);
  recording_.store(false, std::memory_order_release);
  parts_ = {};
  captured_.clear();
}

void Tape::take_valueless(const Array& array) {
  const Tape* other = array.trace().tape.get();
  if (other == this || other == nullptr) {
    return;
  }
  std::string name = other->withholds_values();
  const std::lock_guard lock(mutex_);
  if (withholds_values_.empty()) {
    withholds_values_ = std::move(name);
  }
}

std::string Tape::withholds_values() const {
  const std::lock_guard lock(mutex_);
  return withholds_values_.empty() ? transform_ : withholds_values_;
}

std::string Tape::ended_message() const {
  return "an array stands for an argument of " + transform_ + ", which has ended, so that it has no value; return it " +
         "from the function instead";
}

void Tape::require_recording() const {
  if (!recording()) {
    throw Error(ended_message());
  }
}

}  // namespace mlx_nif
