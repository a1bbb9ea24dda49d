// Makes fused kernels for a CPU while everything else goes on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <thread>

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

  // Has the thread do it, which must not throw.
  void add(std::function<void()> make);

  // How many kernels are to be made.
  std::size_t open() const { return open_.load(std::memory_order_relaxed); }

  // Held while kernels are used, so that none is made meanwhile. Not owned while one is made.
  std::shared_lock<std::shared_mutex> use() { return std::shared_lock(in_use_, std::try_to_lock); }

  // Forgets what is not begun, and waits for the kernel that is made.
  void stop();

 private:
  void start();
  void run();

  std::atomic<KernelMaking> making_{KernelMaking::background};
  std::shared_mutex in_use_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::atomic<std::size_t> open_{0};
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mlx_nif
