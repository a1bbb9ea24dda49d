// Work for a thread that has nothing else to do.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace mlx_nif {

// A thread does one piece of work after the other, in the order in which they came. It starts with the first one.
template <typename Work>
class WorkQueue {
 public:
  // Does one piece of work, and must not throw.
  explicit WorkQueue(std::function<void(Work)> work) : work_(std::move(work)) {}

  void add(Work work) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
      open_.fetch_add(1);
      if (!thread_.joinable() && !stopping_) {
        start();
      }
    }
    changed_.notify_one();
  }

  // How many pieces are not done.
  std::size_t open() const { return open_.load(std::memory_order_relaxed); }

  // Waits for the piece that is being done, ends the thread, and returns what is left. A later `add` starts another
  // thread.
  std::deque<Work> stop() {
    const std::lock_guard one_at_a_time(stop_mutex_);
    std::thread thread;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      thread.swap(thread_);
    }
    changed_.notify_one();
    if (thread.joinable()) {
      thread.join();
    }
    const std::lock_guard lock(mutex_);
    stopping_ = false;
    open_.fetch_sub(queue_.size());
    return std::exchange(queue_, {});
  }

 private:
  // Where the system has no thread left, the next `add` tries again.
  void start() {
    try {
      thread_ = std::thread(&WorkQueue::run, this);
    } catch (const std::system_error&) {
      return;
    }
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) {
        return;
      }
      Work work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work_(std::move(work));
      open_.fetch_sub(1);
      lock.lock();
    }
  }

  const std::function<void(Work)> work_;
  std::mutex stop_mutex_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  std::atomic<std::size_t> open_{0};
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mlx_nif
