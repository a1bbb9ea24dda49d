#include "core/reaper.hpp"

#include "core/autorelease_pool.hpp"

namespace mlx_nif {

Reaper& Reaper::instance() {
  // Never destroyed: the VM runs static destructors while its threads still free arrays.
  static Reaper* const reaper = new Reaper;
  return *reaper;
}

void Reaper::take(ArrayHandle handle, std::shared_ptr<Graph> graph) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({std::move(handle), std::move(graph)});
    if (!thread_.joinable() && !stopping_) {
      thread_ = std::thread(&Reaper::run, this);
    }
  }
  changed_.notify_one();
}

void Reaper::stop() {
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
  // What came in while the thread ended.
  std::unique_lock lock(mutex_);
  free_items(lock);
  stopping_ = false;
}

void Reaper::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !items_.empty(); });
    if (items_.empty()) {
      return;
    }
    free_items(lock);
  }
}

void Reaper::free_items(std::unique_lock<std::mutex>& lock) {
  while (!items_.empty()) {
    Item item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    free(std::move(item));
    lock.lock();
  }
}

void Reaper::free(Item item) {
  [[maybe_unused]] const AutoreleasePool pool;
  for (;;) {
    Graph& root = item.graph->root();
    const std::lock_guard lock(root.mutex());
    if (&item.graph->root() == &root) {
      item.handle.reset();
      return;
    }
  }
}

}  // namespace mlx_nif
