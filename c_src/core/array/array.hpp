// An MLX array as Elixir holds it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/array/graph.hpp"
#include "core/array/trace.hpp"
#include "core/handles/handle.hpp"
#include "core/memory/holdings.hpp"
#include "core/streams/late_failure.hpp"

namespace mlx_nif {

struct NodeTraits {
  // A view with more elements than memory holds.
  bool oversized = false;
  // It, or what it is computed from, can fail on a worker thread: linear algebra, loading.
  bool fallible = false;
  // Stands for an argument of a transformed function that only has a shape and a type, or was computed from such.
  bool valueless = false;
};

// Any number of processes may use one Array at the same time, also while another deallocates it: each use pins it, and
// the last pin after `deallocate` frees the handle.
class Array {
 public:
  // An array that has its value.
  explicit Array(ArrayHandle handle, Holding holding = {})
      : handle_(std::move(handle)), holding_(std::move(holding)), settled_(true) {}

  // A node of the graph, computed on the stream; MLX's streams live for ever.
  Array(ArrayHandle handle, std::shared_ptr<Graph> graph, mlx_stream stream, NodeTraits traits = {}, Trace trace = {},
        Holding holding = {})
      : handle_(std::move(handle)),
        holding_(std::move(holding)),
        graph_(std::move(graph)),
        stream_(stream),
        traits_(traits),
        trace_(std::move(trace)),
        settled_(false) {}

  // The same node as `original`, under its lock, in the place of an argument that is traced.
  Array(ArrayHandle handle, const Array& original, Trace trace)
      : handle_(std::move(handle)),
        graph_(original.graph_),
        stream_(original.stream_),
        traits_(original.traits_),
        trace_(std::move(trace)),
        settled_(original.settled()) {}

  ~Array() {
    if (handle_) {
      release();
    }
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  // Evaluated, and so immutable: MLX only reads such a node, and no lock is needed for it.
  bool settled() const { return settled_.load(std::memory_order_acquire); }

  // Under the lock of `graph()`, unless settled.
  mlx_array get() const { return handle_.get(); }
  void settle() { settled_.store(true, std::memory_order_release); }

  // Only of an array that is not settled.
  Graph& graph() const { return graph_->root(); }
  // The graph that it was made in, which may be a part of `graph()` by now.
  const std::shared_ptr<Graph>& own_graph() const { return graph_; }
  mlx_stream stream() const { return stream_; }

  bool oversized() const { return traits_.oversized; }
  // While it is not settled.
  bool fallible() const { return traits_.fallible; }
  // Under the lock of `graph()`.
  Mark meaning_of_mark() const {
    return !fallible() && !graph().failure(true).empty() ? Mark::is_explained : Mark::means_failure;
  }

  const Trace& trace() const { return trace_; }
  bool has_value() const { return !traits_.valueless; }

  void deallocate();

  // How many there are, each with a buffer or a share in one. Metal has room for half a million buffers.
  static std::size_t count() { return Counted::count.load(std::memory_order_relaxed); }

 private:
  friend class Pin;

  static constexpr std::uint32_t deallocated = 1u << 31;

  struct Counted {
    Counted() { count.fetch_add(1, std::memory_order_relaxed); }
    ~Counted() { count.fetch_sub(1, std::memory_order_relaxed); }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    inline static std::atomic<std::size_t> count{0};
  };

  bool try_pin();
  void unpin();
  void release_once();
  void release();

  [[no_unique_address]] const Counted counted_;
  ArrayHandle handle_;
  Holding holding_;
  const std::shared_ptr<Graph> graph_;
  const mlx_stream stream_{};
  const NodeTraits traits_;
  const Trace trace_;
  std::atomic<bool> settled_;
  std::atomic<std::uint32_t> pins_{0};
  std::atomic_flag released_;
};

// Keeps an array's handle alive for the length of a call.
class Pin {
 public:
  Pin() = default;
  // Throws when the array is deallocated.
  explicit Pin(Array& array);
  Pin(Pin&& other) noexcept : array_(std::exchange(other.array_, nullptr)) {}
  Pin& operator=(Pin&& other) noexcept {
    std::swap(array_, other.array_);
    return *this;
  }
  ~Pin() {
    if (array_ != nullptr) {
      array_->unpin();
    }
  }

  Array* get() const { return array_; }

 private:
  Array* array_ = nullptr;
};

}  // namespace mlx_nif
