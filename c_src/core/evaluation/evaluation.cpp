// The ways in which an evaluation takes arrays from nodes of graphs to values.
#include "core/evaluation/evaluation.hpp"

#include <mlx/primitives.h>
#include <mlx/scheduler.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "core/array/graph_lock.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/evaluation/stream_use.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/handles/small_vector.hpp"
#include "core/recording/tape.hpp"
#include "core/streams/late_failure.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

using Clock = std::chrono::steady_clock;

// What a normal scheduler may wait for and schedule; it must not be kept for a millisecond. What is done in no time is
// seen sooner by asking than by sleeping, which takes longer to wake up from.
constexpr auto longest_spin = std::chrono::microseconds(60);
constexpr auto longest_sleep = std::chrono::microseconds(500);
constexpr std::size_t most_nodes_scheduled_inline = 64;

// Failures of other evaluations while one is being scheduled.
constexpr int most_disturbances = 8;

// The end of what CPU streams have to do by now, for which a normal scheduler may wait a short time; MLX's own waiting
// knows no limit.
class EndOfTasks {
 public:
  void follow(mlx_stream stream) {
    {
      const std::lock_guard lock(state_->mutex);
      ++state_->open;
    }
    mlx::core::scheduler::enqueue(stream_of(stream), [state = state_] {
      const std::lock_guard lock(state->mutex);
      --state->open;
      state->changed.notify_one();
    });
  }

  bool wait_until(Clock::time_point end) const {
    std::unique_lock lock(state_->mutex);
    return state_->changed.wait_until(lock, end, [this] { return state_->open == 0; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    int open = 0;
  };

  // The tasks may end after this.
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// Some transforms call the user's function with arrays that only have a shape and a type.
void require_value(const Array* array) {
  if (!array->has_value()) {
    throw Error("inside of a function for " + array->trace().tape->withholds_values() +
                ", an array has a shape and a type but no " +
                "value to read; choose between values with Mlx.select/3, or compute the value outside and pass it in");
  }
}

// Takes arrays from nodes of graphs to values.
class Evaluation {
 public:
  Evaluation(std::span<Array* const> arrays, Waiting waiting) : waiting_(waiting) {
    std::ranges::for_each(arrays, require_value);
    std::ranges::copy_if(arrays, std::back_inserter(arrays_), [](const Array* array) { return !array->settled(); });
  }

  void run() {
    if (arrays_.empty()) {
      return;
    }
    const bool alone = fallible();
    const StreamUse use(alone, waiting_);
    GraphLock lock(arrays_, waiting_);
    if (waiting_ == Waiting::brief) {
      evaluate_inline();
    } else if (alone) {
      evaluate_alone();
    } else {
      evaluate_shared(lock);
    }
  }

  // Without waiting; false when the arrays can only be evaluated alone.
  bool start() {
    if (fallible()) {
      return false;
    }
    if (arrays_.empty()) {
      return true;
    }
    const StreamUse use(false, waiting_);
    const GraphLock lock(arrays_, waiting_);
    if (waiting_ == Waiting::brief) {
      require_short_work();
    }
    auto sentinels = make_sentinels();
    const auto scheduling_lock = schedule(sentinels);
    for (ArrayHandle& sentinel : sentinels) {
      Scheduling::instance().add(announce(std::move(sentinel)));
    }
    return true;
  }

 private:
  // Under the locks of the graphs: a short wait, and no node but those that are asked for. Only on a CPU, where nothing
  // but what is known to be fallible fails late.
  void evaluate_inline() const {
    require_short_work();
    if (!all_scheduled()) {
      schedule({});
    }
    try {
      const auto start = Clock::now();
      if (!spin_until(start + longest_spin)) {
        sleep_until(start + longest_sleep);
      }
      settle();
    } catch (const Error& error) {
      fail(Graph::Failed::all_arrays, error);
      throw;
    }
  }

  void require_short_work() const {
    // Encoding for a GPU can compile kernels.
    bool long_work = Streams::instance().has(MLX_GPU);
    for_unsettled([&](const Array& array) { long_work |= array.graph().nodes() > most_nodes_scheduled_inline; });
    if (long_work) {
      throw NeedsDirtyScheduler();
    }
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
    const GraphLock again(arrays_, waiting_);
    try {
      if (failure) {
        std::rethrow_exception(failure);
      }
      settle();
    } catch (const Error& error) {
      fail(Graph::Failed::all_arrays, error);
      throw;
    }
  }

  // Has the graphs know of an evaluation that was just scheduled, so that others that rest on it learn of its failure.
  std::shared_ptr<Unawaited> announce(ArrayHandle sentinel) const {
    const auto evaluation = std::make_shared<Unawaited>(std::move(sentinel));
    for_unsettled([&](const Array& array) { array.graph().add(evaluation); });
    return evaluation;
  }

  // The graphs stay locked to the end, since none of their values may be used if one fails.
  void evaluate_alone() const {
    const auto sentinels = make_sentinels();
    schedule(sentinels);
    try {
      wait_for(sentinels);
      check_streams();
      settle();
    } catch (const Error& error) {
      fail(Graph::Failed::fallible_arrays, error);
      throw;
    }
  }

  // Arrays that only this thread reaches, so that it may wait on them without a lock: one for each stream, which MLX
  // says to be there when all is that was scheduled on that stream by then.
  std::vector<ArrayHandle> make_sentinels() const {
    std::vector<ArrayHandle> sentinels;
    for_each_stream([&](const Array& array, mlx_stream stream) {
      sentinels.push_back(apply(mlx_stop_gradient, array.get(), stream));
    });
    return sentinels;
  }

  // Returns the lock of the scheduling, still held unless there was nothing to do.
  std::unique_lock<std::mutex> schedule(std::span<const ArrayHandle> sentinels) const {
    std::vector<mlx_array> outputs;
    for_unsettled([&](const Array& array) { outputs.push_back(array.get()); });
    std::ranges::transform(sentinels, std::back_inserter(outputs), &ArrayHandle::get);
    if (outputs.empty()) {
      return {};
    }
    auto lock = Scheduling::instance().lock(waiting_);
    try {
      schedule_undisturbed(outputs);
    } catch (const Error& error) {
      lock.unlock();
      // MLX has waited for what it had scheduled by then, and the rest can be scheduled again. What may have failed
      // meanwhile on a worker thread is all that cannot be told from a value.
      if (is_of_some_command_buffer(error.what())) {
        fail(Graph::Failed::all_arrays, error);
      } else if (fallible()) {
        fail(Graph::Failed::fallible_arrays, error);
      }
      throw;
    }
    for_unsettled([](const Array& array) { array.graph().evaluated(); });
    return lock;
  }

  // On a GPU MLX throws the failure of another evaluation into the one that it schedules next. That evaluation sees its
  // own failure by the marks on its arrays, and this one is scheduled again, unless it rests on arrays that failed.
  static void schedule_undisturbed(std::span<const mlx_array> outputs) {
    for (int disturbances = 0;; ++disturbances) {
      try {
        schedule_outputs(outputs);
        return;
      } catch (const Error& error) {
        if (!is_of_some_command_buffer(error.what())) {
          throw;
        }
        remember_late_failure(error.what());
        if (disturbances == most_disturbances || rests_on_late_failure(outputs)) {
          throw;
        }
      }
    }
  }

  static void wait_for(std::span<const ArrayHandle> sentinels) {
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

  bool spin_until(Clock::time_point end) const {
    while (!all_available()) {
      if (Clock::now() > end) {
        return false;
      }
      sched_yield();
    }
    return true;
  }

  // One waits on a normal scheduler at a time.
  void sleep_until(Clock::time_point end) const {
    if (Scheduling::instance().somebody_waits()) {
      throw NeedsDirtyScheduler();
    }
    const Scheduling::Awaited awaited;
    EndOfTasks tasks;
    for_each_stream([&](const Array&, mlx_stream stream) { tasks.follow(stream); });
    if (!tasks.wait_until(end)) {
      throw NeedsDirtyScheduler();
    }
  }

  bool all_scheduled() const {
    return std::ranges::all_of(
        arrays_, [](const Array* array) { return array->settled() || !is_unscheduled(array_of(array->get())); });
  }

  bool all_available() const {
    return std::ranges::all_of(arrays_, [](const Array* array) {
      return array->settled() || has_arrived(array->get(), array->meaning_of_mark());
    });
  }

  // MLX looks for an error of the stream only while it waits for an array, and not if that is there already.
  void check_streams() const {
    const std::lock_guard lock(Scheduling::instance().mutex);
    for_each_stream([](const Array&, mlx_stream stream) { finish_stream(stream); });
  }

  // Returns at once, because all of the streams is done that the arrays are computed on.
  void settle() const {
    for_unsettled([](Array& array) {
      array.graph().check_unawaited();
      wait_for_arrival(array.get(), array.meaning_of_mark());
      array.settle();
    });
  }

  void fail(Graph::Failed failed, const Error& error) const {
    for_unsettled([&](const Array& array) {
      // What is seen of a failure on a normal scheduler was taken from the stream by that.
      if (waiting_ == Waiting::unlimited) {
        clear_error(array.stream());
      }
      array.graph().fail(failed, error.what());
    });
  }

  bool fallible() const {
    return std::ranges::any_of(arrays_, [](const Array* array) { return array->fallible() && !array->settled(); });
  }

  template <typename Visit>
  void for_unsettled(const Visit& visit) const {
    for (Array* array : arrays_) {
      if (!array->settled()) {
        visit(*array);
      }
    }
  }

  // One unsettled array of each stream that MLX computes some on.
  template <typename Visit>
  void for_each_stream(const Visit& visit) const {
    SmallVector<int, 4> seen;
    for_unsettled([&](const Array& array) {
      const mlx::core::Stream stream = computed_on(array);
      if (std::ranges::find(seen.all(), stream.index) == seen.all().end()) {
        seen.push_back(stream.index);
        visit(array, borrow(stream));
      }
    });
  }

  // The operations of a recorded function may have other streams than that which it is called on.
  static mlx::core::Stream computed_on(const Array& array) {
    const mlx::core::array& node = array_of(array.get());
    if (node.has_primitive()) {
      return node.primitive().stream();
    }
    return node.event().valid() ? node.event().stream() : stream_of(array.stream());
  }

  std::vector<Array*> arrays_;
  const Waiting waiting_;
};

void evaluate_one(Array& array, Waiting waiting) {
  Array* const arrays[] = {&array};
  evaluate(arrays, waiting);
}

bool is_row_major(mlx_array array) {
  bool result = false;
  check(_mlx_array_is_row_contiguous(&result, array));
  return result;
}

}  // namespace

void evaluate(std::span<Array* const> arrays, Waiting waiting) {
  Evaluation(arrays, waiting).run();
}

void start_evaluation(std::span<Array* const> arrays, Waiting waiting) {
  if (!Evaluation(arrays, waiting).start()) {
    evaluate(arrays, waiting);
  }
}

ArrayHandle row_major_value(Array& array, Waiting waiting) {
  evaluate_one(array, waiting);
  if (is_row_major(array.get())) {
    return share(array.get());
  }
  const mlx_stream stream = Streams::instance().default_stream(mlx_array_dtype(array.get()));
  Array contiguous(apply(mlx_contiguous, array.get(), false, stream), std::make_shared<Graph>(), stream);
  evaluate_one(contiguous, waiting);
  return share(contiguous.get());
}

bool buffers_stay() {
  static const bool stay = !has_cuda();
  return stay;
}

std::span<const std::byte> bytes_of(mlx_array row_major, Waiting waiting) {
  const std::size_t size = mlx_array_nbytes(row_major);
  if (size == 0) {
    return {};
  }
  std::unique_lock lock(Scheduling::instance().mutex, std::defer_lock);
  if (!buffers_stay()) {
    if (waiting == Waiting::unlimited) {
      lock.lock();
    } else if (!lock.try_lock()) {
      throw NeedsDirtyScheduler();
    }
  }
  return {reinterpret_cast<const std::byte*>(mlx_array_data_uint8(row_major)), size};
}

std::size_t size_of_buffers(std::span<Array* const> arrays) {
  std::vector<mlx::core::array> values;
  values.reserve(arrays.size());
  std::ranges::transform(arrays, std::back_inserter(values), [](const Array* array) { return array_of(array->get()); });
  return mlx::core::get_array_buffer_size(values);
}

void synchronize(mlx_stream stream) {
  const ArrayHandle zero(mlx_array_new_int(0));
  Array last(apply(mlx_negative, zero.get(), stream), std::make_shared<Graph>(), stream);
  evaluate_one(last, Waiting::unlimited);
  // What the operations on a GPU used is freed a little after their end, which MLX's own function waits for. What
  // failed there is told to those whose arrays it are.
  if (device_of(stream) == MLX_GPU) {
    clear_error(stream);
  }
}

}  // namespace mlx_nif
