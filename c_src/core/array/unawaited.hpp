// An evaluation that was started and that nobody waits for.
#pragma once

#include <mutex>
#include <string>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// Asked by whoever schedules next, and by whoever uses arrays of its graph, which may rest on it.
class Unawaited {
 public:
  // The sentinel is an array that nobody else reaches, and that is there when the evaluation is over.
  explicit Unawaited(ArrayHandle sentinel) : sentinel_(std::move(sentinel)) {}

  bool over();

  // Empty until it is over, and when it did not fail.
  std::string failure();

 private:
  std::mutex mutex_;
  ArrayHandle sentinel_;
  std::string failure_;
};

}  // namespace mlx_nif
