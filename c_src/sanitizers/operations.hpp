// Arrays and operations as the native functions have them, without the VM.
#pragma once

#include <mlx/c/mlx.h>
#include <algorithm>

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

#include "core/array/array.hpp"
#include "core/array/graph_lock.hpp"
#include "core/handles/error.hpp"
#include "core/memory/array_limit.hpp"
#include "core/memory/holdings.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif::stress {

// An array as a process holds it: the VM counts the references to a resource in the same way.
using Reference = std::shared_ptr<Array>;

inline std::atomic<std::uint64_t> operations{0};
inline std::atomic<std::uint64_t> repetitions{0};

// The process that runs on this thread, and a new one in its place.
inline thread_local Holdings::Process current_process = 0;
void begin_process();

// The share of an array in what the process holds: so much that a few of them are worth a collection.
Holding holding();

// A call from Elixir: as on a normal scheduler, and again as on a dirty one when the core asks for that.
template <typename Body>
auto call(const Body& body) {
  Streams::instance().adopt_thread();
  operations.fetch_add(1, std::memory_order_relaxed);
  try {
    return body(Waiting::brief);
  } catch (const NeedsDirtyScheduler&) {
    repetitions.fetch_add(1, std::memory_order_relaxed);
  }
  return body(Waiting::unlimited);
}

// The arrays of a call, kept alive for its length.
class Operands {
 public:
  Operands(std::initializer_list<Reference> references) : Operands(std::vector(references)) {}
  explicit Operands(const std::vector<Reference>& references) {
    for (const Reference& reference : references) {
      pins_.emplace_back(*reference);
      arrays_.push_back(reference.get());
    }
  }
  std::span<Array* const> all() const { return arrays_; }

 private:
  std::vector<Pin> pins_;
  std::vector<Array*> arrays_;
};

struct BuildTraits {
  // The default one where there is none.
  mlx_stream stream{};
  bool fallible = false;
  GraphLock::Promises promises = GraphLock::Promises::awaited;
};

// What a native operation does between the decoding of its arguments and the encoding of its results. `make` calls
// mlx-c under the locks of the graphs.
template <typename Make>
std::vector<Reference> build_all(std::initializer_list<Reference> references, const Make& make,
                                 BuildTraits traits = {}) {
  return call([&](Waiting waiting) {
    const Operands operands(references);
    for (const Array* array : operands.all()) {
      // Numbers among the arguments take their type from it before any lock is taken.
      mlx_array_dtype(array->get());
    }
    GraphLock lock(operands.all(), waiting, traits.promises);
    const mlx_stream stream = traits.stream.ctx != nullptr ? traits.stream : Streams::instance().default_stream();
    std::vector<ArrayHandle> handles = make(stream);
    const bool fallible = traits.fallible || std::ranges::any_of(operands.all(), [](const Array* array) {
                            return array->fallible() && !array->settled();
                          });
    const std::shared_ptr<Graph> graph = lock.join();
    std::vector<Reference> results;
    for (ArrayHandle& handle : handles) {
      graph->add_nodes(1);
      const NodeTraits node{.oversized = is_oversized(handle.get()), .fallible = fallible};
      results.push_back(std::make_shared<Array>(std::move(handle), graph, stream, node, Trace(), holding()));
    }
    return results;
  });
}

template <typename Make>
Reference build(std::initializer_list<Reference> references, const Make& make, BuildTraits traits = {}) {
  const auto make_one = [&](mlx_stream stream) {
    std::vector<ArrayHandle> handles;
    handles.push_back(make(stream));
    return handles;
  };
  return std::move(build_all(references, make_one, traits).front());
}

// Values.
Reference evaluated(ArrayHandle handle);
Reference value(float number);
Reference matrix(float number, int size);

// Nodes.
Reference add(const Reference& a, const Reference& b, BuildTraits traits = {});
Reference add(const Reference& a, float number, BuildTraits traits = {});
Reference multiply(const Reference& a, const Reference& b);
Reference remainder(const Reference& a, float divisor);
Reference matmul(const Reference& a, const Reference& b);
Reference take(const Reference& a, const Reference& indices);
Reference transpose(const Reference& a);
Reference inverse(const Reference& a);
std::vector<Reference> halves(const Reference& a);

// What `eval`, `async_eval`, `is_available` and `to_binary` do.
void evaluate_now(const std::vector<Reference>& arrays);
void start(const std::vector<Reference>& arrays);
bool is_available(const Reference& array);
float read(const Reference& array);

// The value as a binary holds it, which outlives the array.
ArrayHandle hold(const Reference& array);
float first_element(const ArrayHandle& value);

}  // namespace mlx_nif::stress
