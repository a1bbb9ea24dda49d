#include "core/graph_lock.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace mlx_nif {

GraphLock::GraphLock(std::span<Array* const> arrays, Waiting waiting) {
  for (;;) {
    find_roots(arrays);
    lock_roots(waiting);
    if (roots_are_current()) {
      break;
    }
    unlock_roots();
  }
  try {
    settle_available(arrays);
  } catch (...) {
    unlock_roots();
    throw;
  }
}

GraphLock::~GraphLock() {
  unlock_roots();
}

std::shared_ptr<Graph> GraphLock::join() {
  if (roots_.empty()) {
    auto graph = std::make_shared<Graph>();
    graph->mutex().lock();
    roots_.push_back(std::move(graph));
    return roots_.front();
  }
  std::shared_ptr<Graph> joined = roots_.front();
  for (const auto& root : std::span(roots_).subspan(1)) {
    joined = Graph::join(joined, root);
  }
  return joined;
}

void GraphLock::find_roots(std::span<Array* const> arrays) {
  roots_.clear();
  for (const Array* array : arrays) {
    if (array == nullptr || array->settled()) {
      continue;
    }
    Graph& root = array->graph();
    if (std::ranges::none_of(roots_, [&](const auto& known) { return known.get() == &root; })) {
      roots_.push_back(root.shared_from_this());
    }
  }
  if (roots_.size() > 1) {
    std::ranges::sort(roots_, std::less<>(), [](const auto& root) { return root.get(); });
  }
}

bool GraphLock::roots_are_current() const {
  return std::ranges::all_of(roots_, [](const auto& root) { return &root->root() == root.get(); });
}

void GraphLock::lock_roots(Waiting waiting) {
  for (auto root = roots_.begin(); root != roots_.end(); ++root) {
    if (waiting == Waiting::allowed) {
      (*root)->mutex().lock();
    } else if (!(*root)->mutex().try_lock()) {
      roots_.erase(root, roots_.end());
      unlock_roots();
      throw NeedsDirtyScheduler();
    }
  }
}

void GraphLock::unlock_roots() {
  for (const auto& root : roots_) {
    root->mutex().unlock();
  }
  roots_.clear();
}

void GraphLock::settle_available(std::span<Array* const> arrays) {
  for (Array* array : arrays) {
    if (array == nullptr || array->settled()) {
      continue;
    }
    const std::string& failure = array->graph().failure();
    if (!failure.empty()) {
      throw Error(failure);
    }
    bool available = false;
    check(_mlx_array_is_available(&available, array->get()));
    if (available) {
      array->settle();
    }
  }
  // What has its value no longer ties its graph to the results.
  if (std::ranges::all_of(arrays, [](const Array* array) { return array == nullptr || array->settled(); })) {
    unlock_roots();
  }
}

}  // namespace mlx_nif
