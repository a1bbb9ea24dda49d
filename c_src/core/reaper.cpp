#include "core/reaper.hpp"

#include "core/autorelease_pool.hpp"

namespace mlx_nif {

Reaper& Reaper::instance() {
  // Never destroyed: the VM runs static destructors while its threads still free arrays.
  static Reaper* const reaper = new Reaper;
  return *reaper;
}

void Reaper::take(ArrayHandle handle, std::shared_ptr<Graph> graph) {
  queue_.add({std::move(handle), std::move(graph)});
}

void Reaper::stop() {
  for (Item& item : queue_.stop()) {
    free(std::move(item));
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
