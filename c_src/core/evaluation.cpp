#include "core/evaluation.hpp"

#include <mlx/primitives.h>
#include <mlx/scheduler.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/deep_thread.hpp"
#include "core/error.hpp"
#include "core/expression.hpp"
#include "core/graph_lock.hpp"
#include "core/mlx_objects.hpp"
#include "core/small_vector.hpp"
#include "core/streams.hpp"

namespace mlx_nif {
namespace {

using Clock = std::chrono::steady_clock;

// What a normal scheduler may wait for and schedule; it must not be kept for a millisecond. What is done in no time is
// seen sooner by asking than by sleeping, which takes longer to wake up from.
constexpr auto longest_spin = std::chrono::microseconds(60);
constexpr auto longest_sleep = std::chrono::microseconds(500);
constexpr auto longest_spin_for_idleness = std::chrono::microseconds(20);
constexpr std::size_t most_nodes_scheduled_inline = 64;

// MLX's schedulers, encoders and events are not thread-safe: one thread at a time schedules.
struct Scheduling {
  // MLX itself waits in `async_eval` while many tasks are queued, so that nothing else may happen under this lock.
  std::mutex mutex;

  // An error on a worker thread belongs to the stream and not to an array. So a graph that can fail has the streams
  // alone, from its scheduling to its end; all other evaluations share them.
  std::shared_mutex streams;

  // One array for each evaluation that nobody waits for; it tells when that is done. Under `mutex`.
  std::vector<ArrayHandle> unawaited;

  // The number of evaluations that somebody waits for.
  std::atomic<int> awaited{0};

  // Never destroyed: the VM runs static destructors while its threads evaluate.
  static Scheduling& instance() {
    static Scheduling* const scheduling = new Scheduling;
    return *scheduling;
  }

  bool idle() {
    std::erase_if(unawaited, [](const ArrayHandle& sentinel) {
      bool available = false;
      check(_mlx_array_is_available(&available, sentinel.get()));
      return available;
    });
    return unawaited.empty() && awaited.load() == 0;
  }
};

// Counts an evaluation as awaited.
class Awaited {
 public:
  Awaited() { Scheduling::instance().awaited.fetch_add(1); }
  ~Awaited() { Scheduling::instance().awaited.fetch_sub(1); }
  Awaited(const Awaited&) = delete;
  Awaited& operator=(const Awaited&) = delete;
};

// Use of the streams: alone, or with others.
class StreamUse {
 public:
  StreamUse(bool alone, Patience patience) : alone_(alone) {
    if (patience == Patience::none) {
      if (alone_ || !streams().try_lock_shared()) {
        throw NeedsDirtyScheduler();
      }
    } else if (alone_) {
      streams().lock();
    } else {
      streams().lock_shared();
    }
  }
  ~StreamUse() {
    if (alone_) {
      streams().unlock();
    } else {
      streams().unlock_shared();
    }
  }
  StreamUse(const StreamUse&) = delete;
  StreamUse& operator=(const StreamUse&) = delete;

 private:
  static std::shared_mutex& streams() { return Scheduling::instance().streams; }

  const bool alone_;
};

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

// Throws away what MLX may have kept of an error that was raised already, so that nobody else gets it.
void clear_stream_error(mlx_stream stream) {
  const std::lock_guard lock(Scheduling::instance().mutex);
  try {
    check(mlx_synchronize(stream));
  } catch (const Error&) {
  }
}

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
  Evaluation(std::span<Array* const> arrays, Patience patience) : patience_(patience) {
    std::ranges::for_each(arrays, require_value);
    std::ranges::copy_if(arrays, std::back_inserter(arrays_), [](const Array* array) { return !array->settled(); });
  }

  void run() {
    if (arrays_.empty()) {
      return;
    }
    const bool alone = fallible();
    const StreamUse use(alone, patience_);
    GraphLock lock(arrays_, waiting());
    if (patience_ == Patience::none) {
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
    const StreamUse use(false, patience_);
    const GraphLock lock(arrays_, waiting());
    if (patience_ == Patience::none) {
      require_short_work();
    }
    auto sentinels = make_sentinels();
    const auto scheduling_lock = schedule(sentinels);
    std::ranges::move(sentinels, std::back_inserter(Scheduling::instance().unawaited));
    return true;
  }

 private:
  // Under the locks of the graphs: a short wait, and no node but those that are asked for.
  void evaluate_inline() const {
    require_short_work();
    if (!all_scheduled()) {
      schedule({});
    }
    const auto start = Clock::now();
    if (!spin_until(start + longest_spin)) {
      sleep_until(start + longest_sleep);
    }
    settle();
  }

  void require_short_work() const {
    // Encoding for a GPU can compile kernels.
    bool long_work = Streams::instance().has(MLX_GPU);
    for_unsettled([&](const Array& array) { long_work |= array.graph().nodes() > most_nodes_scheduled_inline; });
    if (long_work) {
      throw NeedsDirtyScheduler();
    }
  }

  // Others use the graphs while this waits.
  void evaluate_shared(GraphLock& lock) const {
    const auto sentinels = make_sentinels();
    schedule(sentinels);
    const Awaited awaited;
    lock.release();
    try {
      wait_for(sentinels);
    } catch (const Error& error) {
      const GraphLock again(arrays_, waiting());
      fail(Graph::Failed::all_arrays, error);
      throw;
    }
    const GraphLock again(arrays_, waiting());
    settle();
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
    ArrayVectorHandle outputs(mlx_vector_array_new());
    for_unsettled([&](const Array& array) { check(mlx_vector_array_append_value(outputs.get(), array.get())); });
    for (const ArrayHandle& sentinel : sentinels) {
      check(mlx_vector_array_append_value(outputs.get(), sentinel.get()));
    }
    auto& scheduling = Scheduling::instance();
    std::unique_lock lock(scheduling.mutex, std::defer_lock);
    if (mlx_vector_array_size(outputs.get()) == 0) {
      return lock;
    }
    if (patience_ == Patience::unlimited) {
      lock.lock();
      scheduling.idle();
    } else {
      lock_when_idle(lock);
    }
    try {
      schedule_outputs(outputs.get());
    } catch (const Error& error) {
      lock.unlock();
      // MLX has waited for what it had scheduled by then, and the rest can be scheduled again. What may have failed
      // meanwhile on a worker thread is all that cannot be told from a value.
      if (fallible()) {
        fail(Graph::Failed::fallible_arrays, error);
      }
      throw;
    }
    for_unsettled([](const Array& array) { array.graph().evaluated(); });
    return lock;
  }

  // What was started just before, such as the operand of the next operation, is mostly done in no time.
  static void lock_when_idle(std::unique_lock<std::mutex>& lock) {
    auto& scheduling = Scheduling::instance();
    for (const auto end = Clock::now() + longest_spin_for_idleness; scheduling.awaited.load() == 0; sched_yield()) {
      if (lock.try_lock()) {
        if (scheduling.idle()) {
          return;
        }
        lock.unlock();
      }
      if (Clock::now() > end) {
        break;
      }
    }
    throw NeedsDirtyScheduler();
  }

  static void wait_for(std::span<const ArrayHandle> sentinels) {
    for (const ArrayHandle& sentinel : sentinels) {
      check(_mlx_array_wait(sentinel.get()));
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
    if (Scheduling::instance().awaited.load() > 0) {
      throw NeedsDirtyScheduler();
    }
    const Awaited awaited;
    EndOfTasks tasks;
    for_each_stream([&](const Array&, mlx_stream stream) { tasks.follow(stream); });
    if (!tasks.wait_until(end)) {
      throw NeedsDirtyScheduler();
    }
  }

  bool all_scheduled() const {
    return std::ranges::all_of(arrays_, [](const Array* array) {
      return array->settled() || array_of(array->get()).status() != mlx::core::array::Status::unscheduled;
    });
  }

  bool all_available() const {
    return std::ranges::all_of(arrays_, [](const Array* array) {
      bool available = array->settled();
      if (!available) {
        check(_mlx_array_is_available(&available, array->get()));
      }
      return available;
    });
  }

  // MLX looks for an error of the stream only while it waits for an array, and not if that is there already.
  void check_streams() const {
    const std::lock_guard lock(Scheduling::instance().mutex);
    for_each_stream([](const Array&, mlx_stream stream) { check(mlx_synchronize(stream)); });
  }

  // Returns at once, because all of the streams is done that the arrays are computed on.
  void settle() const {
    for_unsettled([](Array& array) {
      check(_mlx_array_wait(array.get()));
      array.settle();
    });
  }

  void fail(Graph::Failed failed, const Error& error) const {
    for_unsettled([&](const Array& array) {
      clear_stream_error(array.stream());
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

  GraphLock::Waiting waiting() const {
    return patience_ == Patience::unlimited ? GraphLock::Waiting::allowed : GraphLock::Waiting::never;
  }

  std::vector<Array*> arrays_;
  const Patience patience_;
};

void evaluate_one(Array& array, Patience patience) {
  Array* const arrays[] = {&array};
  evaluate(arrays, patience);
}

mlx_device_type device_of(mlx_stream stream) {
  DeviceHandle device;
  check(mlx_stream_get_device(device.out(), stream));
  mlx_device_type type = MLX_CPU;
  check(mlx_device_get_type(&type, device.get()));
  return type;
}

bool is_row_major(mlx_array array) {
  bool result = false;
  check(_mlx_array_is_row_contiguous(&result, array));
  return result;
}

}  // namespace

void schedule_outputs(mlx_vector_array outputs) {
  const auto work = [outputs] { check(mlx_async_eval(outputs)); };
  if (Streams::instance().has(MLX_GPU)) {
    static DeepThread* const thread = new DeepThread;
    thread->run(work);
  } else {
    work();
  }
}

void evaluate(std::span<Array* const> arrays, Patience patience) {
  Evaluation(arrays, patience).run();
}

void start_evaluation(std::span<Array* const> arrays, Patience patience) {
  if (!Evaluation(arrays, patience).start()) {
    evaluate(arrays, patience);
  }
}

ArrayHandle row_major_value(Array& array, Patience patience) {
  evaluate_one(array, patience);
  if (is_row_major(array.get())) {
    ArrayHandle value;
    check(mlx_array_set(value.out(), array.get()));
    return value;
  }
  const mlx_stream stream = Streams::instance().default_stream();
  Array contiguous(apply(mlx_contiguous, array.get(), false, stream), std::make_shared<Graph>(), stream);
  evaluate_one(contiguous, patience);
  ArrayHandle value;
  check(mlx_array_set(value.out(), contiguous.get()));
  return value;
}

std::span<const std::byte> bytes_of(mlx_array row_major) {
  const std::size_t size = mlx_array_nbytes(row_major);
  if (size == 0) {
    return {};
  }
  // On a GPU this may move the buffer.
  std::unique_lock lock(Scheduling::instance().mutex, std::defer_lock);
  if (Streams::instance().has(MLX_GPU)) {
    lock.lock();
  }
  return {reinterpret_cast<const std::byte*>(mlx_array_data_uint8(row_major)), size};
}

void synchronize(mlx_stream stream) {
  const ArrayHandle zero(mlx_array_new_int(0));
  Array last(apply(mlx_negative, zero.get(), stream), std::make_shared<Graph>(), stream);
  evaluate_one(last, Patience::unlimited);
  // What the operations on a GPU used is freed a little after their end, which MLX's own function waits for.
  if (device_of(stream) == MLX_GPU) {
    between_schedules([&] { check(mlx_synchronize(stream)); });
  }
}

void between_schedules(const std::function<void()>& work) {
  const std::lock_guard lock(Scheduling::instance().mutex);
  work();
}

// At the end of the process the encoders of MLX and the threads of the BLAS are taken down, while the VM's threads go
// on using them: it would crash, or wait for ever. What is registered here runs before that.
#ifdef __GLIBC__
void stop_scheduling_at_exit() {
  // Knows the status to end with, so that nothing else has to happen.
  const auto end_process = [](int status, void*) {
    std::fflush(nullptr);
    _exit(status);
  };
  on_exit(end_process, nullptr);
}
#else
void stop_scheduling_at_exit() {
  std::atexit([] {
    static bool stopped = false;
    if (std::exchange(stopped, true)) {
      return;
    }
    // MLX can wait for a long task while it schedules. What is scheduled by then is let go.
    constexpr auto longest_wait = std::chrono::seconds(1);
    const auto end = Clock::now() + longest_wait;
    while (!Scheduling::instance().mutex.try_lock() && Clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
}
#endif

}  // namespace mlx_nif
