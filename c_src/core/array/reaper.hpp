// Frees array handles that a garbage collection could not free at once.
#pragma once

#include <memory>

#include "core/array/graph.hpp"
#include "core/handles/handle.hpp"
#include "core/threads/work_queue.hpp"

namespace mlx_nif {

// Whether it may take as long as a GPU works to free a handle: CUDA frees the event of a CPU stream when the GPU has
// done all that it was given.
bool frees_slowly(const Graph& graph);

// A destructor must not wait for a graph's lock, and must not spend milliseconds on freeing a graph. It hands the
// handle to this thread, which may do both.
class Reaper {
 public:
  static Reaper& instance();

  void take(ArrayHandle handle, Graph& graph);

  // Whatever may not be freed on the thread that lets go of it.
  void take(std::shared_ptr<void> object);

  // Frees what is left and ends the thread; a later `take` starts it again.
  void stop();

 private:
  struct Item {
    std::shared_ptr<Graph> graph;
    std::shared_ptr<void> object;
  };

  static void free(Item item);

  WorkQueue<Item> queue_{free};
};

}  // namespace mlx_nif
