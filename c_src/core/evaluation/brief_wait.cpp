// Asks again and again at first, and then sleeps until the streams have done what they had to do.
#include "core/evaluation/brief_wait.hpp"

#include <mlx/scheduler.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "core/evaluation/scheduling.hpp"
#include "core/handles/error.hpp"
#include "core/streams/late_failure.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

using Clock = std::chrono::steady_clock;

// What is done in no time is seen sooner by asking than by sleeping, which takes longer to wake up from.
constexpr auto longest_spin = std::chrono::microseconds(60);
// A GPU needs longer for a small step of training, and nobody is woken up at its end.
constexpr auto longest_spin_for_gpu = std::chrono::microseconds(250);
constexpr auto longest_sleep = std::chrono::microseconds(500);

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

template <typename Arrived>
bool spin_until(Clock::time_point end, const Arrived& arrived) {
  while (!arrived()) {
    if (Clock::now() > end) {
      return false;
    }
    sched_yield();
  }
  return true;
}

bool on_gpu(const UnsettledArrays& arrays) {
  bool found = false;
  arrays.for_each_stream([&](const Array&, mlx_stream stream) { found |= device_of(stream) == MLX_GPU; });
  return found;
}

// One waits on a normal scheduler at a time.
void sleep_until(Clock::time_point end, const UnsettledArrays& arrays) {
  if (Scheduling::instance().somebody_waits()) {
    throw NeedsDirtyScheduler();
  }
  const Scheduling::Awaited awaited;
  EndOfTasks tasks;
  arrays.for_each_stream([&](const Array&, mlx_stream stream) { tasks.follow(stream); });
  if (!tasks.wait_until(end)) {
    throw NeedsDirtyScheduler();
  }
}

}  // namespace

void wait_briefly(const UnsettledArrays& arrays) {
  const auto start = Clock::now();
  const bool gpu = on_gpu(arrays);
  if (spin_until(start + (gpu ? longest_spin_for_gpu : longest_spin), [&] { return arrays.all_arrived(); })) {
    return;
  }
  // A GPU tells nobody of the end of its work within a time.
  if (gpu) {
    throw NeedsDirtyScheduler();
  }
  sleep_until(start + longest_sleep, arrays);
}

void spin_until_arrival(std::span<const ArrayHandle> arrays) {
  if (Streams::instance().has(MLX_GPU) && !Scheduling::instance().somebody_schedules()) {
    spin_until(Clock::now() + longest_spin_for_gpu, [&] {
      return std::ranges::all_of(arrays, [](const ArrayHandle& array) { return has_arrived(array.get()); });
    });
  }
}

}  // namespace mlx_nif
