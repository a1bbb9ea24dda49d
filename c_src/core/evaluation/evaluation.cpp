// The ways to evaluate: with a brief wait, beside others, alone, and without waiting.
#include "core/evaluation/evaluation.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/array/graph_lock.hpp"
#include "core/array/reaper.hpp"
#include "core/evaluation/brief_wait.hpp"
#include "core/evaluation/cpu_inputs.hpp"
#include "core/evaluation/cpu_streams.hpp"
#include "core/evaluation/familiar_graphs.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/evaluation/stream_use.hpp"
#include "core/evaluation/unsettled_arrays.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/handles/small_vector.hpp"
#include "core/streams/late_failure.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

// More take a normal scheduler too long to schedule.
constexpr std::size_t most_nodes_scheduled_inline = 64;

// Takes arrays from nodes of graphs to values.
class Evaluation {
 public:
  Evaluation(std::span<Array* const> arrays, Waiting waiting, GraphLock::Promises promises)
      : arrays_(arrays), waiting_(waiting), promises_(promises) {}

  void run() {
    if (arrays_.empty()) {
      return;
    }
    const bool alone = arrays_.fallible();
    Locks locks(*this, alone);
    GraphLock& lock = *locks.graphs;
    if (waiting_ == Waiting::brief) {
      evaluate_inline();
    } else if (alone) {
      evaluate_alone();
    } else {
      evaluate_shared(lock);
    }
  }

  // Without waiting. Calls `scheduled` under the locks of the graphs. Returns what was started, or nothing when the
  // arrays can only be evaluated alone.
  std::optional<Started> start(const std::function<void()>& scheduled) {
    if (arrays_.fallible()) {
      return std::nullopt;
    }
    Started started;
    if (arrays_.empty()) {
      scheduled();
      return started;
    }
    const Locks locks(*this, false);
    if (waiting_ == Waiting::brief) {
      require_short_work();
    }
    auto sentinels = make_sentinels();
    if (const auto scheduling_lock = schedule(sentinels)) {
      for (ArrayHandle& sentinel : sentinels) {
        Scheduling::instance().add(started.emplace_back(announce(std::move(sentinel))));
      }
    }
    scheduled();
    return started;
  }

 private:
  // Of the streams and the graphs. Promises are waited for without them: who keeps a promise uses the streams.
  struct Locks {
    Locks(const Evaluation& evaluation, bool alone) {
      const bool awaited = evaluation.promises_ == GraphLock::Promises::awaited;
      take(evaluation, alone, awaited ? GraphLock::Promises::left_open : evaluation.promises_);
      if (awaited && graphs->left_open()) {
        graphs.reset();
        use.reset();
        static_cast<void>(GraphLock(evaluation.arrays_.all(), evaluation.waiting_));
        take(evaluation, alone, GraphLock::Promises::of_others);
      }
    }

    void take(const Evaluation& evaluation, bool alone, GraphLock::Promises promises) {
      use.emplace(alone, evaluation.waiting_);
      graphs.emplace(evaluation.arrays_.all(), evaluation.waiting_, promises);
    }

    std::optional<StreamUse> use;
    std::optional<GraphLock> graphs;
  };

  // Under the locks of the graphs: a short wait, and no node but those that are asked for.
  void evaluate_inline() const {
    require_short_work();
    if (!arrays_.all_scheduled()) {
      schedule({});
    }
    try {
      wait_briefly(arrays_);
      arrays_.settle();
    } catch (const Error& error) {
      fail(Graph::Failed::all_arrays, error);
      throw;
    }
  }

  // With a GPU, only what waits for no CPU stream and is known not to make kernels is short.
  void require_short_work() const {
    const bool has_gpu = Streams::instance().has(MLX_GPU);
    if (has_many_nodes() || (has_gpu && (uses_cpu() || (!arrays_.all_scheduled() && !is_familiar(structure()))))) {
      throw NeedsDirtyScheduler();
    }
  }

  bool has_many_nodes() const {
    bool many = false;
    arrays_.for_each([&](const Array& array) { many |= array.graph().nodes() > most_nodes_scheduled_inline; });
    return many;
  }

  bool uses_cpu() const {
    bool used = false;
    arrays_.for_each([&](const Array& array) { used |= array.graph().uses_cpu(); });
    return used;
  }

  std::vector<mlx_array> outputs() const {
    std::vector<mlx_array> outputs;
    arrays_.for_each([&](const Array& array) { outputs.push_back(array.get()); });
    return outputs;
  }

  // Of a small graph for a GPU. Under the locks of the graphs, until something of it is scheduled.
  const std::optional<GraphStructure>& structure() const {
    if (!structure_) {
      structure_.emplace(find_structure());
    }
    return *structure_;
  }

  std::optional<GraphStructure> find_structure() const {
    if (!Streams::instance().has(MLX_GPU) || has_many_nodes()) {
      return std::nullopt;
    }
    return structure_of(outputs(), most_nodes_scheduled_inline);
  }

  static bool is_familiar(const std::optional<GraphStructure>& structure) {
    return structure && FamiliarGraphs::instance().contains(*structure);
  }

  // Others use the graphs while this waits, and have sentinels that they may ask.
  void evaluate_shared(GraphLock& lock) const {
    auto sentinels = make_sentinels();
    const auto own = static_cast<std::ptrdiff_t>(sentinels.size());
    std::ranges::move(make_sentinels(), std::back_inserter(sentinels));
    schedule(sentinels);
    std::for_each(sentinels.begin() + own, sentinels.end(),
                  [this](ArrayHandle& sentinel) { announce(std::move(sentinel)); });
    sentinels.resize(own);
    const Scheduling::Awaited awaited;
    lock.release();
    std::exception_ptr failure = failure_of(sentinels);
    const GraphLock again(arrays_.all(), waiting_, GraphLock::Promises::of_others);
    try {
      if (failure) {
        std::rethrow_exception(failure);
      }
      arrays_.settle();
    } catch (const Error& error) {
      fail(Graph::Failed::all_arrays, error);
      throw;
    }
  }

  // Has the graphs know of an evaluation that was just scheduled, so that others that rest on it learn of its failure.
  std::shared_ptr<Unawaited> announce(ArrayHandle sentinel) const {
    const auto evaluation = std::make_shared<Unawaited>(std::move(sentinel));
    arrays_.for_each([&](const Array& array) { array.graph().add(evaluation); });
    return evaluation;
  }

  // The graphs stay locked to the end, since none of their values may be used if one fails.
  void evaluate_alone() const {
    const auto sentinels = make_sentinels();
    const CpuStreams streams = cpu_streams_of(outputs());
    schedule(sentinels);
    try {
      wait_for(sentinels);
      check_streams();
      arrays_.settle();
    } catch (const Error& error) {
      clear_errors_of(streams);
      fail(Graph::Failed::fallible_arrays, error);
      throw;
    }
  }

  // Arrays that only this thread reaches, so that it may wait on them without a lock. An array that is scheduled has
  // one with its event, so that nothing is waited for that was scheduled later, such as the next token of a text. The
  // others have one for each stream, which MLX says to be there when all is that was scheduled on that stream by then.
  std::vector<ArrayHandle> make_sentinels() const {
    std::vector<ArrayHandle> sentinels;
    SmallVector<int, 4> streams;
    SmallVector<const std::byte*, 4> events;
    arrays_.for_each([&](const Array& array) {
      const mlx::core::array& node = array_of(array.get());
      if (is_unscheduled(node)) {
        const mlx::core::Stream stream = computed_on(array);
        if (is_new(streams, stream.index)) {
          sentinels.push_back(apply(mlx_stop_gradient, array.get(), borrow(stream)));
        }
      } else if (const std::byte* event = event_of(node); event != nullptr && is_new(events, event)) {
        sentinels.push_back(array_with(node.event()));
      }
    });
    return sentinels;
  }

  template <typename Element, std::size_t size>
  static bool is_new(SmallVector<Element, size>& seen, Element element) {
    if (std::ranges::find(seen.all(), element) != seen.all().end()) {
      return false;
    }
    seen.push_back(element);
    return true;
  }

  // It has no value, and has arrived when the event is signaled.
  static ArrayHandle array_with(const mlx::core::Event& event) {
    const mlx::core::array array(mlx::core::Shape{}, mlx::core::bool_, nullptr, {});
    array.set_status(mlx::core::array::Status::evaluated);
    array.attach_event(event);
    return handle_of(array);
  }

  // Returns the lock of the scheduling, still held unless all was scheduled before, and announced then.
  std::unique_lock<std::mutex> schedule(std::span<const ArrayHandle> sentinels) const {
    std::vector<mlx_array> outputs = this->outputs();
    std::ranges::transform(sentinels, std::back_inserter(outputs), &ArrayHandle::get);
    if (std::ranges::none_of(outputs, [](mlx_array output) { return is_unscheduled(array_of(output)); })) {
      return {};
    }
    free_dead_handles();
    std::unique_lock<std::mutex> lock;
    const bool familiar = is_familiar(structure());
    try {
      wait_for_inputs(outputs);
      lock = Scheduling::instance().lock(waiting_);
      schedule_undisturbed(outputs, familiar ? Kernels::are_there : Kernels::may_be_made);
    } catch (const Error& error) {
      lock = {};
      // MLX has waited for what it had scheduled by then, and the rest can be scheduled again. What may have failed
      // meanwhile on a worker thread is all that cannot be told from a value.
      if (is_of_some_command_buffer(error.what())) {
        fail(Graph::Failed::all_arrays, error);
      } else if (arrays_.fallible()) {
        fail(Graph::Failed::fallible_arrays, error);
      }
      throw;
    }
    if (structure() && !familiar) {
      FamiliarGraphs::instance().add(*structure());
    }
    arrays_.for_each([](const Array& array) { array.graph().evaluated(); });
    return lock;
  }

  // MLX would keep what they stand for until all is scheduled.
  void free_dead_handles() const {
    arrays_.for_each([](const Array& array) {
      Graph& graph = array.graph();
      if (!frees_slowly(graph)) {
        graph.dead_handles().free();
      }
    });
  }

  void wait_for_inputs(std::span<const mlx_array> outputs) const {
    if (uses_cpu() && has_cuda()) {
      wait_for_cpu_inputs(outputs);
    }
  }

  static void wait_for(std::span<const ArrayHandle> sentinels) {
    spin_until_arrival(sentinels);
    for (const ArrayHandle& sentinel : sentinels) {
      wait_for_arrival(sentinel.get());
    }
  }

  static std::exception_ptr failure_of(std::span<const ArrayHandle> sentinels) {
    try {
      wait_for(sentinels);
      return nullptr;
    } catch (const Error&) {
      return std::current_exception();
    }
  }

  // MLX looks for an error of the stream only while it waits for an array, and not if that is there already.
  void check_streams() const {
    const std::lock_guard lock(Scheduling::instance().mutex);
    arrays_.for_each_stream([](const Array&, mlx_stream stream) { finish_stream(stream); });
  }

  // An error went through all streams between the operation that failed and the arrays.
  static void clear_errors_of(const CpuStreams& streams) {
    const std::lock_guard lock(Scheduling::instance().mutex);
    clear_errors(streams);
  }

  void fail(Graph::Failed failed, const Error& error) const {
    arrays_.for_each([&](const Array& array) {
      // What is seen of a failure on a normal scheduler was taken from the stream by that.
      if (waiting_ == Waiting::unlimited) {
        clear_error(array.stream());
      }
      array.graph().fail(failed, error.what());
    });
  }

  const UnsettledArrays arrays_;
  const Waiting waiting_;
  const GraphLock::Promises promises_;
  // Once it was asked for.
  mutable std::optional<std::optional<GraphStructure>> structure_;
};

}  // namespace

void evaluate(std::span<Array* const> arrays, Waiting waiting, GraphLock::Promises promises) {
  Evaluation(arrays, waiting, promises).run();
}

void evaluate(Array& array, Waiting waiting) {
  Array* const arrays[] = {&array};
  evaluate(arrays, waiting);
}

Started start_evaluation(std::span<Array* const> arrays, Waiting waiting, GraphLock::Promises promises,
                         const std::function<void()>& scheduled) {
  if (auto started = Evaluation(arrays, waiting, promises).start(scheduled)) {
    return std::move(*started);
  }
  evaluate(arrays, waiting, promises);
  scheduled();
  return {};
}

}  // namespace mlx_nif
