// Locks graphs in one order, and again when they were joined with others meanwhile.
#include "core/array/graph_lock.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "core/array/reaper.hpp"
#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/streams/late_failure.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {

namespace {

bool never() {
  return false;
}

bool always() {
  return true;
}

// The event of an array on the stream of a CPU, where CUDA frees it when the GPU has done all that it was given: what
// MLX lets go of when it is asked about the array is not to be freed here.
std::shared_ptr<void> slowly_freed_event(const Array& array) {
  if (!array.graph().uses_cpu() || !has_cuda()) {
    return nullptr;
  }
  const mlx::core::Event& event = array_of(array.get()).event();
  const bool slow = event.valid() && event.stream().device == mlx::core::Device::cpu;
  return slow ? std::make_shared<mlx::core::Event>(event) : nullptr;
}

// Whether the value is there; when it never will be, the whole graph fails.
bool has_arrived_or_fail(const Array& array) {
  try {
    std::shared_ptr<void> event = slowly_freed_event(array);
    const bool arrived = has_arrived(array.get(), array.meaning_of_mark());
    if (event) {
      Reaper::instance().take(std::move(event));
    }
    if (arrived) {
      array.graph().check_unawaited();
    }
    return arrived;
  } catch (const Error& error) {
    array.graph().fail(Graph::Failed::all_arrays, error.what());
    throw;
  }
}

}  // namespace

GraphLock::GraphLock(std::span<Array* const> arrays, Waiting waiting, Promises promises)
    : GraphLock(arrays, waiting == Waiting::unlimited ? always : never, promises) {}

GraphLock::GraphLock(std::span<Array* const> arrays, MayWait& may_wait, Promises promises) {
  lock_current_roots(arrays, may_wait);
  const auto open = open_promises();
  left_open_ = !open.empty() && promises == Promises::left_open;
  if (!open.empty() && promises == Promises::awaited) {
    // Who keeps them may need these locks. The arrays rest on none that comes later.
    release();
    if (!may_wait()) {
      throw NeedsDirtyScheduler();
    }
    for (const auto& promise : open) {
      promise->wait();
    }
    lock_current_roots(arrays, may_wait);
    open_promises();
  }
  try {
    settle_available(arrays);
  } catch (...) {
    release();
    throw;
  }
}

void GraphLock::lock_current_roots(std::span<Array* const> arrays, MayWait& may_wait) {
  for (;;) {
    find_roots(arrays);
    if (!lock_roots(may_wait)) {
      roots_.clear();
      throw NeedsDirtyScheduler();
    }
    if (roots_are_current()) {
      return;
    }
    release();
  }
}

std::vector<std::shared_ptr<const Promise>> GraphLock::open_promises() const {
  std::vector<std::shared_ptr<const Promise>> open;
  for (Graph* root : roots_.all()) {
    const auto promises = root->open_promises();
    open.insert(open.end(), promises.begin(), promises.end());
  }
  return open;
}

const std::shared_ptr<Graph>& GraphLock::join() {
  const auto roots = roots_.all();
  if (roots.size() == 1 && first_root_ != nullptr) {
    return *first_root_;
  }
  joined_ = roots.empty() ? std::make_shared<Graph>() : roots.front()->shared_from_this();
  for (Graph* root : roots.empty() ? roots : roots.subspan(1)) {
    joined_ = Graph::join(joined_, root->shared_from_this());
  }
  return joined_;
}

void GraphLock::release() {
  for (Graph* root : roots_.all()) {
    root->mutex().unlock();
  }
  roots_.clear();
}

void GraphLock::find_roots(std::span<Array* const> arrays) {
  roots_.clear();
  first_root_ = nullptr;
  for (const Array* array : arrays) {
    if (!array->settled()) {
      Graph* root = &array->graph();
      if (roots_.empty() && array->own_graph().get() == root) {
        first_root_ = &array->own_graph();
      }
      if (roots_.empty() || roots_.all().back() != root) {
        roots_.push_back(root);
      }
    }
  }
  if (roots_.size() > 1) {
    std::ranges::sort(roots_.all(), std::less<>());
    roots_.shrink(roots_.size() - std::ranges::unique(roots_.all()).size());
  }
}

bool GraphLock::roots_are_current() const {
  return std::ranges::all_of(roots_.all(), [](Graph* root) { return &root->root() == root; });
}

// Locks all or none.
bool GraphLock::lock_roots(MayWait& may_wait) {
  const auto roots = roots_.all();
  for (std::size_t index = 0; index < roots.size(); ++index) {
    if (roots[index]->mutex().try_lock()) {
      continue;
    }
    if (!may_wait()) {
      for (Graph* locked : roots.first(index)) {
        locked->mutex().unlock();
      }
      return false;
    }
    roots[index]->mutex().lock();
  }
  return true;
}

void GraphLock::settle_available(std::span<Array* const> arrays) {
  bool all_settled = true;
  // The event of an array that is not there: to ask a GPU about one takes as long as to build an operation.
  const std::byte* open_event = nullptr;
  for (Array* array : arrays) {
    if (array->settled()) {
      continue;
    }
    const std::string& failure = array->graph().failure(array->fallible());
    if (!failure.empty()) {
      throw Error("a value that this was to be computed from could not be computed: " + failure);
    }
    // What is promised may be written to just now.
    const std::byte* const event = left_open_ ? nullptr : event_of(array_of(array->get()));
    if (!left_open_ && (event == nullptr || event != open_event) && has_arrived_or_fail(*array)) {
      array->settle();
    } else {
      open_event = event;
      all_settled = false;
    }
  }
  // What has its value no longer ties its graph to the results.
  if (all_settled) {
    release();
  }
}

}  // namespace mlx_nif
