// Makes fused kernels for a CPU while everything else goes on.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "core/threads/work_queue.hpp"

namespace mlx_nif {

// Where functions are computed until their kernels are there: `background`, operation by operation; `wait`, not before,
// as in MLX, which makes a kernel under the lock of the scheduling; `never`, operation by operation for ever.
enum class KernelMaking { background, wait, never };

// A thread that makes one kernel after the other. MLX holds a lock meanwhile that all kernels need.
class KernelMaker {
 public:
  static KernelMaker& instance();

  KernelMaking making() const { return making_.load(std::memory_order_relaxed); }
  void set_making(KernelMaking making) { making_.store(making, std::memory_order_relaxed); }

  // Has the thread make a kernel, which must not throw.
  void add(std::function<void()> kernel) { queue_.add(std::move(kernel)); }

  // How many kernels are to be made.
  std::size_t open() const { return queue_.open(); }

  // Held while kernels are used, so that none is made meanwhile. Not owned while one is made.
  std::shared_lock<std::shared_mutex> use() { return std::shared_lock(in_use_, std::try_to_lock); }

  // Forgets what is not begun, and waits for the kernel that is made.
  void stop() { queue_.stop(); }

 private:
  void make(const std::function<void()>& kernel);

  std::atomic<KernelMaking> making_{KernelMaking::background};
  std::shared_mutex in_use_;
  WorkQueue<std::function<void()>> queue_{[this](const std::function<void()>& kernel) { make(kernel); }};
};

}  // namespace mlx_nif
