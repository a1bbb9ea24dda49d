// Handles that could not be freed where they were let go of.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// Of the arrays of one graph, whose lock another thread held. As long as they are there, MLX keeps what they stand for:
// whoever evaluates the graph next frees them first, and else the reaper.
class DeadHandles {
 public:
  // Needs no lock. Returns whether it is the only one.
  bool add(ArrayHandle handle) {
    const std::lock_guard lock(mutex_);
    handles_.push_back(std::move(handle));
    return handles_.size() == 1;
  }

  // Under the lock of the graph.
  void free() {
    std::vector<ArrayHandle> handles;
    {
      const std::lock_guard lock(mutex_);
      handles.swap(handles_);
    }
  }

 private:
  std::mutex mutex_;
  std::vector<ArrayHandle> handles_;
};

}  // namespace mlx_nif
