// Asks the sentinel until it has arrived or failed, and then lets go of it.
#include "core/array/unawaited.hpp"

#include "core/handles/error.hpp"
#include "core/streams/late_failure.hpp"

namespace mlx_nif {

bool Unawaited::over() {
  const std::lock_guard lock(mutex_);
  if (!sentinel_) {
    return true;
  }
  try {
    if (!has_arrived(sentinel_.get())) {
      return false;
    }
  } catch (const Error& error) {
    failure_ = error.what();
  }
  // It shares its buffer with an array, which could not be reused as long as it lives.
  sentinel_.reset();
  return true;
}

std::string Unawaited::failure() {
  const std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace mlx_nif
