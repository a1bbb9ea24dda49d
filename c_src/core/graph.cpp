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
  if (a->failure_.empty()) {
    a->failure_ = b->failure_;
  }
  if (a->failure_of_all_.empty()) {
    a->failure_of_all_ = b->failure_of_all_;
  }
  b->successor_owner_ = a;
  b->successor_.store(a.get(), std::memory_order_release);
  return a;
}

void Graph::fail(Failed failed, std::string message) {
  if (failed == Failed::all_arrays) {
    failure_of_all_ = message;
  }
  failure_ = std::move(message);
}

}  // namespace mlx_nif
