#include "core/kernel_maker.hpp"

#include <system_error>
#include <utility>

namespace mlx_nif {

KernelMaker& KernelMaker::instance() {
  // Never destroyed: the VM runs static destructors while its threads still compute.
  static KernelMaker* const maker = new KernelMaker;
  return *maker;
}

void KernelMaker::add(std::function<void()> make) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(make));
    open_.fetch_add(1);
    if (!thread_.joinable() && !stopping_) {
      start();
    }
  }
  changed_.notify_one();
}

// Where the system has no thread left, the next kernel tries again.
void KernelMaker::start() {
  try {
    thread_ = std::thread(&KernelMaker::run, this);
  } catch (const std::system_error&) {
    return;
  }
}

void KernelMaker::stop() {
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    open_.fetch_sub(queue_.size());
    queue_.clear();
    thread.swap(thread_);
  }
  changed_.notify_one();
  if (thread.joinable()) {
    thread.join();
  }
  const std::lock_guard lock(mutex_);
  stopping_ = false;
}

void KernelMaker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) {
      return;
    }
    const std::function<void()> make = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    {
      const std::lock_guard alone(in_use_);
      make();
    }
    open_.fetch_sub(1);
    lock.lock();
  }
}

}  // namespace mlx_nif
