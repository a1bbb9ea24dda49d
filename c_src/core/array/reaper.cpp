// Waits for the lock of a graph, and frees the handle under it.
#include "core/array/reaper.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <chrono>
#include <mutex>

#include "core/streams/streams.hpp"
#include "core/threads/autorelease_pool.hpp"

namespace mlx_nif {
namespace {

using Clock = std::chrono::steady_clock;

// To free this long is to free hundreds of thousands of nodes.
constexpr std::chrono::milliseconds long_time{20};

// glibc keeps the pages of what one thread allocated and another freed.
void give_pages_back() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace

bool frees_slowly(const Graph& graph) {
  return graph.uses_cpu() && has_cuda();
}

Reaper& Reaper::instance() {
  // Never destroyed: the VM runs static destructors while its threads still free arrays.
  static Reaper* const reaper = new Reaper;
  return *reaper;
}

void Reaper::take(ArrayHandle handle, Graph& graph) {
  if (graph.dead_handles().add(std::move(handle))) {
    queue_.add({graph.shared_from_this(), nullptr});
  }
}

void Reaper::take(std::shared_ptr<void> object) {
  queue_.add({nullptr, std::move(object)});
}

void Reaper::stop() {
  for (Item& item : queue_.stop()) {
    free(std::move(item));
  }
}

void Reaper::free(Item item) {
  [[maybe_unused]] const AutoreleasePool pool;
  item.object.reset();
  while (item.graph) {
    Graph& root = item.graph->root();
    std::unique_lock lock(root.mutex());
    if (&item.graph->root() == &root) {
      const Clock::time_point start = Clock::now();
      item.graph->dead_handles().free();
      lock.unlock();
      if (Clock::now() - start > long_time) {
        give_pages_back();
      }
      return;
    }
  }
}

}  // namespace mlx_nif
