// The lock under which one thread at a time schedules, and what is done under it.
#include "core/evaluation/scheduling.hpp"

#include <sched.h>

#include <chrono>
#include <vector>

#include "core/evaluation/output_order.hpp"
#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/streams/late_failure.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/deep_thread.hpp"

namespace mlx_nif {
namespace {

using Clock = std::chrono::steady_clock;

// Failures of other evaluations while one is being scheduled.
constexpr int most_disturbances = 8;

constexpr auto longest_spin_for_idleness = std::chrono::microseconds(20);

// What drives a GPU can compile kernels, which overflows the stack of a scheduler: it has a thread of its own, unless
// this one is as deep.
void drive(const std::function<void()>& work) {
  if (Streams::instance().has(MLX_GPU) && stack_bytes_left() < gpu_stack_bytes / 2) {
    static DeepThread* const thread = new DeepThread(gpu_stack_bytes);
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
void schedule_outputs(std::span<const mlx_array> outputs, Kernels kernels) {
  ArrayVectorHandle ordered(mlx_vector_array_new());
  const std::vector<mlx_array> needed = in_order_of_need(outputs);
  const auto append = [&](bool doubles) {
    for (const mlx_array output : needed) {
      if (is_unscheduled(array_of(output)) && (mlx_array_dtype(output) == MLX_FLOAT64) == doubles) {
        check(mlx_vector_array_append_value(ordered.get(), output));
      }
    }
  };
  append(true);
  append(false);
  const auto work = [&] { check(mlx_async_eval(ordered.get())); };
  if (mlx_vector_array_size(ordered.get()) == 0) {
    return;
  }
  if (kernels == Kernels::are_there) {
    work();
  } else {
    drive(work);
  }
}

void schedule_undisturbed(std::span<const mlx_array> outputs, Kernels kernels) {
  for (int disturbances = 0;; ++disturbances) {
    try {
      schedule_outputs(outputs, kernels);
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

}  // namespace mlx_nif
