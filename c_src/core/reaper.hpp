// Frees array handles that a garbage collection could not free at once.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "core/graph.hpp"
#include "core/handle.hpp"

namespace mlx_nif {

// A destructor must not wait for a graph's lock, and must not spend milliseconds on freeing a graph. It hands the
// handle to this thread, which may do both.
class Reaper {
 public:
  static Reaper& instance();

  void take(ArrayHandle handle, std::shared_ptr<Graph> graph);

  // Frees what is left and ends the thread; a later `take` starts it again.
  void stop();

 private:
  struct Item {
    ArrayHandle handle;
    std::shared_ptr<Graph> graph;
  };

  void run();
  void free_items(std::unique_lock<std::mutex>& lock);
  static void free(Item item);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  std::thread thread_;
  bool stopping_ = false;
};

}  // namespace mlx_nif
