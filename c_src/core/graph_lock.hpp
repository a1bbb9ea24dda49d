// Holds the locks of all graphs that a call touches.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/array.hpp"
#include "core/graph.hpp"

namespace mlx_nif {

class GraphLock {
 public:
  enum class Waiting { never, allowed };

  // Locks the graphs of those `arrays` that are not settled, and settles the ones whose values have arrived. Throws
  // NeedsDirtyScheduler when it would have to wait and must not, and Error when an evaluation of such a graph failed.
  GraphLock(std::span<Array* const> arrays, Waiting waiting);
  ~GraphLock();
  GraphLock(const GraphLock&) = delete;
  GraphLock& operator=(const GraphLock&) = delete;

  // The one graph, still locked, that the results of an operation over the arrays belong to.
  std::shared_ptr<Graph> join();

  void release() { unlock_roots(); }

 private:
  void find_roots(std::span<Array* const> arrays);
  bool roots_are_current() const;
  void lock_roots(Waiting waiting);
  void unlock_roots();
  void settle_available(std::span<Array* const> arrays);

  // Sorted by address, so that any two calls lock in the same order. Nearly every call has one graph or none.
  std::vector<std::shared_ptr<Graph>> roots_;
};

}  // namespace mlx_nif
