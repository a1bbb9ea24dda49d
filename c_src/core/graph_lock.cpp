#include "core/graph_lock.hpp"

#include <algorithm>
#include <functional>

#include "core/error.hpp"

namespace mlx_nif {

GraphLock::GraphLock(std::span<Array* const> arrays, Waiting waiting) {
  for (;;) {
    find_roots(arrays);
    if (!lock_roots(waiting)) {
      roots_.clear();
      throw NeedsDirtyScheduler();
    }
    if (roots_are_current()) {
      break;
    }
    release();
  }
  try {
    settle_available(arrays);
  } catch (...) {
    release();
    throw;
  }
}

std::shared_ptr<Graph> GraphLock::join() {
  if (roots_.empty()) {
    return std::make_shared<Graph>();
  }
  const auto roots = roots_.all();
  std::shared_ptr<Graph> joined = roots.front()->shared_from_this();
  for (Graph* root : roots.subspan(1)) {
    joined = Graph::join(joined, root->shared_from_this());
  }
  return joined;
}

void GraphLock::release() {
  for (Graph* root : roots_.all()) {
    root->mutex().unlock();
  }
  roots_.clear();
}

void GraphLock::find_roots(std::span<Array* const> arrays) {
  roots_.clear();
  for (const Array* array : arrays) {
    if (!array->settled()) {
      Graph* root = &array->graph();
      if (std::ranges::find(roots_.all(), root) == roots_.all().end()) {
        roots_.push_back(root);
      }
    }
  }
  if (roots_.size() > 1) {
    std::ranges::sort(roots_.all(), std::less<>());
  }
}

bool GraphLock::roots_are_current() const {
  return std::ranges::all_of(roots_.all(), [](Graph* root) { return &root->root() == root; });
}

// Locks all or none.
bool GraphLock::lock_roots(Waiting waiting) {
  const auto roots = roots_.all();
  for (std::size_t index = 0; index < roots.size(); ++index) {
    if (waiting == Waiting::allowed) {
      roots[index]->mutex().lock();
    } else if (!roots[index]->mutex().try_lock()) {
      for (Graph* locked : roots.first(index)) {
        locked->mutex().unlock();
      }
      return false;
    }
  }
  return true;
}

void GraphLock::settle_available(std::span<Array* const> arrays) {
  bool all_settled = true;
  for (Array* array : arrays) {
    if (array->settled()) {
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
    } else {
      all_settled = false;
    }
  }
  // What has its value no longer ties its graph to the results.
  if (all_settled) {
    release();
  }
}

}  // namespace mlx_nif
