// Tells those who wait.
#include "core/array/promise.hpp"

#include <utility>

namespace mlx_nif {

void Promise::keep(std::vector<std::shared_ptr<Unawaited>> evaluations) {
  evaluations_ = std::move(evaluations);
  notify();
}

void Promise::fail(std::string message) {
  failure_ = std::move(message);
  notify();
}

void Promise::notify() {
  kept_.store(true, std::memory_order_release);
  kept_.notify_all();
}

}  // namespace mlx_nif
