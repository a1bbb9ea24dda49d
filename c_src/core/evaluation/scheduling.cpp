// The lock under which one thread at a time schedules, and what is done under it.
#include "core/evaluation/scheduling.hpp"

#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/streams/late_failure.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/deep_thread.hpp"

namespace mlx_nif {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto longest_spin_for_idleness = std::chrono::microseconds(20);

// What drives a GPU can compile kernels, which overflows the stack of a scheduler: it has a thread of its own.
void drive(const std::function<void()>& work) {
  if (Streams::instance().has(MLX_GPU)) {
    static DeepThread* const thread = new DeepThread;
    thread->run(work);
  } else {
    work();
  }
}

}  // namespace

Scheduling& Scheduling::instance() {
  // Never destroyed: the VM runs static destructors while its threads evaluate.
  static Scheduling* const scheduling = new Scheduling;
  return *scheduling;
}

std::unique_lock<std::mutex> Scheduling::lock(Waiting waiting) {
  if (waiting == Waiting::unlimited) {
    std::unique_lock lock(mutex);
    idle();
    return lock;
  }
  // What was started just before, such as the operand of the next operation, is mostly done in no time.
  for (const auto end = Clock::now() + longest_spin_for_idleness; !somebody_waits(); sched_yield()) {
    if (std::unique_lock lock(mutex, std::try_to_lock); lock.owns_lock() && idle()) {
      return lock;
    }
    if (Clock::now() > end) {
      break;
    }
  }
  throw NeedsDirtyScheduler();
}

bool Scheduling::idle() {
  std::erase_if(unawaited_, [](const auto& evaluation) { return evaluation->over(); });
  return unawaited_.empty() && !somebody_waits();
}

void between_schedules(const std::function<void()>& work) {
  const std::lock_guard lock(Scheduling::instance().mutex);
  drive(work);
}

// MLX ends each evaluation with a node that has all outputs as its inputs, on the stream of the first that it has to
// schedule. No node on a GPU may have an input of f64; and these are computed on a CPU.
void schedule_outputs(std::span<const mlx_array> outputs) {
  ArrayVectorHandle ordered(mlx_vector_array_new());
  const auto append = [&](bool doubles) {
    for (const mlx_array output : outputs) {
      if (is_unscheduled(array_of(output)) && (mlx_array_dtype(output) == MLX_FLOAT64) == doubles) {
        check(mlx_vector_array_append_value(ordered.get(), output));
      }
    }
  };
  append(true);
  append(false);
  if (mlx_vector_array_size(ordered.get()) > 0) {
    drive([&] { check(mlx_async_eval(ordered.get())); });
  }
}

void finish_stream(mlx_stream stream) {
  drive([stream] { check(mlx_synchronize(stream)); });
}

void clear_error(mlx_stream stream) {
  const std::lock_guard lock(Scheduling::instance().mutex);
  try {
    finish_stream(stream);
  } catch (const Error& error) {
    remember_late_failure(error.what());
  }
}

// At the end of the process the encoders of MLX and the threads of the BLAS are taken down, while the VM's threads go
// on using them: it would crash, or wait for ever. What is registered here runs before that, and ends the process.
#ifdef __GLIBC__
void stop_scheduling_at_exit(const int*) {
  const auto end_process = [](int status, void*) {
    std::fflush(nullptr);
    _exit(status);
  };
  on_exit(end_process, nullptr);
}
#else
void stop_scheduling_at_exit(const int* status_at_exit) {
  static const int* status = nullptr;
  status = status_at_exit;
  std::atexit([] {
    if (status != nullptr) {
      std::fflush(nullptr);
      _exit(*status);
    }
    static bool stopped = false;
    if (std::exchange(stopped, true)) {
      return;
    }
    // Nobody knows the status, so the process has to end in the usual way, with nothing scheduled meanwhile. MLX can
    // wait for a long task while it schedules.
    constexpr auto longest_wait = std::chrono::seconds(1);
    const auto end = Clock::now() + longest_wait;
    while (!Scheduling::instance().mutex.try_lock()) {
      if (Clock::now() > end) {
        std::fflush(nullptr);
        _exit(EXIT_FAILURE);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
}
#endif

}  // namespace mlx_nif
