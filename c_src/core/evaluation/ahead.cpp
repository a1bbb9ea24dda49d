// Makes places for the values, and fills them when the arrays are scheduled.
#include "core/evaluation/ahead.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <iterator>
#include <utility>

#include "core/array/graph_lock.hpp"
#include "core/array/promise.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/evaluation/unsettled_arrays.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/deep_thread.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

std::atomic<bool> queue_used{false};

DeepQueue& queue() {
  // Never destroyed, as its thread does not end.
  static DeepQueue* const queue = new DeepQueue(gpu_stack_bytes);
  queue_used.store(true);
  return *queue;
}

// Before the promise is kept, nobody else looks at more of a place than its shape and type.
void fill(mx::array& place, const mx::array& value) {
  place.copy_shared_buffer(value);
  if (value.event().valid()) {
    place.attach_event(value.event());
  }
  place.set_status(value.status());
}

// Arrays of which the caller has let go, and the places of their values.
class Work {
 public:
  Successor add(const Array& array, const std::shared_ptr<Graph>& graph) {
    const mx::array& node = array_of(array.get());
    const bool settled = array.settled();
    mx::array& place = places_.emplace_back(node.shape(), node.dtype(), nullptr, std::vector<mx::array>{});
    originals_.push_back(std::make_unique<Array>(share(array.get()), array, Trace{}));
    if (!settled && array.graph().uses_cpu()) {
      graph->use_cpu();
    }
    return {.handle = handle_of(place),
            .graph = graph,
            .stream = settled ? Streams::instance().default_stream(mlx_array_dtype(array.get())) : array.stream(),
            .traits = {.oversized = array.oversized()}};
  }

  const std::shared_ptr<Promise>& promise() const { return promise_; }

  void run() {
    try {
      std::vector<Array*> arrays;
      std::ranges::transform(originals_, std::back_inserter(arrays), &std::unique_ptr<Array>::get);
      // They rest on promises that were given before, and so are kept.
      Started started =
          start_evaluation(arrays, Waiting::unlimited, GraphLock::Promises::of_others, [this] { fill_places(); });
      let_go();
      promise_->keep(std::move(started));
    } catch (const std::exception& error) {
      let_go();
      promise_->fail(error.what());
    } catch (...) {
      let_go();
      promise_->fail("it could not be scheduled");
    }
  }

 private:
  void fill_places() {
    for (std::size_t index = 0; index < places_.size(); ++index) {
      fill(places_[index], array_of(originals_[index]->get()));
    }
  }

  // MLX reuses a buffer that only one array has.
  void let_go() {
    places_.clear();
    originals_.clear();
  }

  std::vector<std::unique_ptr<Array>> originals_;
  std::vector<mx::array> places_;
  const std::shared_ptr<Promise> promise_ = std::make_shared<Promise>();
};

std::vector<Array*> all_of(std::span<Array* const> continued, std::span<Array* const> read) {
  std::vector<Array*> all(continued.begin(), continued.end());
  all.insert(all.end(), read.begin(), read.end());
  return all;
}

}  // namespace

Successors evaluate_ahead(std::span<Array* const> continued, std::span<Array* const> read, Waiting waiting) {
  const std::vector<Array*> all = all_of(continued, read);
  const UnsettledArrays with_values(all);
  const auto work = std::make_shared<Work>();
  Successors successors;
  {
    const GraphLock lock(all, waiting, GraphLock::Promises::left_open);
    const auto new_graph = [&] {
      auto graph = std::make_shared<Graph>();
      graph->add(work->promise());
      return graph;
    };
    const auto graph = new_graph();
    for (const Array* array : continued) {
      successors.continued.push_back(work->add(*array, graph));
    }
    for (const Array* array : read) {
      successors.read.push_back(work->add(*array, new_graph()));
    }
  }
  queue().add([work] { work->run(); });
  return successors;
}

void finish_scheduling_ahead() {
  if (queue_used.load()) {
    const auto end = std::make_shared<Promise>();
    queue().add([end] { end->keep({}); });
    end->wait();
  }
}

}  // namespace mlx_nif
