#include "core/graph.hpp"

#include <utility>

namespace mlx_nif {

std::shared_ptr<Graph> Graph::join(std::shared_ptr<Graph> a, std::shared_ptr<Graph> b) {
  if (a == b) {
    return a;
  }
  if (a->nodes_ < b->nodes_) {
    std::swap(a, b);
  }
  a->nodes_ += b->nodes_;
  if (b->fallible()) {
    a->fallible_.store(true, std::memory_order_relaxed);
  }
  if (a->failure_.empty()) {
    a->failure_ = b->failure_;
  }
  b->successor_owner_ = a;
  b->successor_.store(a.get(), std::memory_order_release);
  return a;
}

}  // namespace mlx_nif
