// Holds the locks of all graphs that a call touches.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/array/array.hpp"
#include "core/array/graph.hpp"
#include "core/handles/small_vector.hpp"
#include "core/threads/waiting.hpp"

namespace mlx_nif {

// The arrays have to stay pinned for as long as the lock lives.
class GraphLock {
 public:
  // What is done about promises of the graphs that are not kept: those that there are now are waited for; nothing, as
  // the arrays are known to rest on none of them; or nothing, and only shapes and types of the arrays are looked at.
  enum class Promises { awaited, of_others, left_open };

  // Locks the graphs of those `arrays` that are not settled, and settles the ones whose values have arrived. Throws
  // NeedsDirtyScheduler when it would have to wait and must not, and Error when an evaluation of such a graph failed.
  GraphLock(std::span<Array* const> arrays, Waiting waiting, Promises promises = Promises::awaited);

  // Asks whether it may wait only when it would have to.
  using MayWait = bool();
  GraphLock(std::span<Array* const> arrays, MayWait& may_wait, Promises promises = Promises::awaited);
  ~GraphLock() { release(); }
  GraphLock(const GraphLock&) = delete;
  GraphLock& operator=(const GraphLock&) = delete;

  // The one graph, still locked, that the results of an operation over the arrays belong to.
  const std::shared_ptr<Graph>& join();

  // Promises were left open, and nobody was asked what has arrived.
  bool left_open() const { return left_open_; }

  void release();

 private:
  void find_roots(std::span<Array* const> arrays);
  bool roots_are_current() const;
  bool lock_roots(MayWait& may_wait);
  void lock_current_roots(std::span<Array* const> arrays, MayWait& may_wait);
  std::vector<std::shared_ptr<const Promise>> open_promises() const;
  void settle_available(std::span<Array* const> arrays);

  bool left_open_ = false;

  // The locked roots, sorted by address, so that any two calls lock in the same order. Nearly always one or none.
  SmallVector<Graph*, 4> roots_;

  // An array's own pointer to the first root that was found: it saves counting another reference.
  const std::shared_ptr<Graph>* first_root_ = nullptr;
  std::shared_ptr<Graph> joined_;
};

}  // namespace mlx_nif
