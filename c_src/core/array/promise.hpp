// The end of an evaluation that others build on before it is scheduled.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/array/unawaited.hpp"

namespace mlx_nif {

// Arrays that stand for the results of the evaluation are nodes without a value until then: nothing of them may be
// looked at but their shapes and types.
class Promise {
 public:
  bool is_kept() const { return kept_.load(std::memory_order_acquire); }
  void wait() const { kept_.wait(false, std::memory_order_acquire); }

  // Once, by the thread that schedules: the arrays have what was scheduled, or never will.
  void keep(std::vector<std::shared_ptr<Unawaited>> evaluations);
  void fail(std::string message);

  // When it is kept.
  std::span<const std::shared_ptr<Unawaited>> evaluations() const { return evaluations_; }
  const std::string& failure() const { return failure_; }

 private:
  void notify();

  std::atomic<bool> kept_{false};
  std::vector<std::shared_ptr<Unawaited>> evaluations_;
  std::string failure_;
};

}  // namespace mlx_nif
