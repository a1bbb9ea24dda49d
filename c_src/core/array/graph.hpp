// The lock of one connected graph of arrays that are not evaluated yet.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/array/dead_handles.hpp"
#include "core/array/promise.hpp"
#include "core/array/unawaited.hpp"

namespace mlx_nif {

// MLX nodes have no locks of their own: evaluation detaches nodes that building, copying and destroying read. Arrays
// whose graphs touch therefore share one lock, and arrays that are evaluated ("settled") need none. An operation over
// arrays of several graphs joins them, as in a union-find forest: the one with the shorter ways to it gets the other as
// successor. So the ways stay short, however many graphs are joined and evaluated while an array of the first one
// lives.
class Graph : public std::enable_shared_from_this<Graph> {
 public:
  // The graph that this one is part of by now. Without its lock the answer may be old: lock, then ask again.
  Graph& root() {
    Graph* graph = this;
    while (Graph* next = graph->successor_.load(std::memory_order_acquire)) {
      graph = next;
    }
    return *graph;
  }

  std::mutex& mutex() { return mutex_; }

  DeadHandles& dead_handles() { return dead_handles_; }

  // What follows is read and written under the lock of the root.

  // Joins two roots, both locked; returns the root of the two.
  static std::shared_ptr<Graph> join(std::shared_ptr<Graph> a, std::shared_ptr<Graph> b);

  void add_nodes(std::size_t count) { nodes_ += count; }

  // Some of its nodes are, or were, computed on the stream of a CPU.
  void use_cpu() { uses_cpu_ = true; }
  bool uses_cpu() const { return uses_cpu_; }

  // Evaluation detaches what it computes, so that less hangs on the graph afterwards.
  void evaluated() { nodes_ = 0; }

  std::size_t nodes() const { return nodes_; }

  // An evaluation of arrays of this graph, on which others may rest.
  void add(std::shared_ptr<Unawaited> evaluation);

  // Throws Error when such an evaluation has failed.
  void check_unawaited();

  // Some of its nodes stand for results of this evaluation.
  void add(std::shared_ptr<const Promise> promise) { promises_.push_back(std::move(promise)); }

  // Those that are not kept; of the others it takes over what is known.
  std::span<const std::shared_ptr<const Promise>> open_promises();

  // An evaluation failed, and which arrays it leaves without a value is not known better than this.
  enum class Failed { fallible_arrays, all_arrays };
  void fail(Failed failed, std::string message);
  const std::string& failure(bool of_fallible_array) const { return of_fallible_array ? failure_ : failure_of_all_; }

 private:
  std::mutex mutex_;
  std::atomic<Graph*> successor_{nullptr};
  std::shared_ptr<Graph> successor_owner_;
  // No way to this root is longer. At most the logarithm of how many graphs were joined.
  std::uint8_t longest_way_ = 0;
  std::size_t nodes_ = 0;
  bool uses_cpu_ = false;
  std::vector<std::shared_ptr<Unawaited>> unawaited_;
  std::vector<std::shared_ptr<const Promise>> promises_;
  std::string failure_;
  std::string failure_of_all_;
  DeadHandles dead_handles_;
};

}  // namespace mlx_nif
