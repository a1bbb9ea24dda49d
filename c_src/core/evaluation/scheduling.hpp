// The one place where graphs are handed to MLX's schedulers and encoders.
#pragma once

#include <mlx/c/mlx.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/array/unawaited.hpp"
#include "core/threads/waiting.hpp"

namespace mlx_nif {

// MLX's schedulers, encoders and events are not thread-safe: one thread at a time schedules.
class Scheduling {
 public:
  // MLX itself waits in `async_eval` while many tasks are queued, so that nothing else may happen under this lock.
  std::mutex mutex;

  static Scheduling& instance();

  // Takes the lock. After a brief wait only while no evaluation runs: what is scheduled is short, but would come after
  // what is not. Throws NeedsDirtyScheduler.
  std::unique_lock<std::mutex> lock(Waiting waiting);

  // Under the lock.
  void add(std::shared_ptr<Unawaited> evaluation) { unawaited_.push_back(std::move(evaluation)); }

  bool somebody_waits() const { return awaited_.load() > 0; }

  // A thread hands a graph to MLX. Who asks a GPU again and again meanwhile slows it down.
  bool somebody_schedules() { return !std::unique_lock(mutex, std::try_to_lock).owns_lock(); }

  // Counts an evaluation that somebody waits for, as long as it lives.
  class Awaited {
   public:
    Awaited() { instance().awaited_.fetch_add(1); }
    ~Awaited() { instance().awaited_.fetch_sub(1); }
    Awaited(const Awaited&) = delete;
    Awaited& operator=(const Awaited&) = delete;
  };

 private:
  bool idle();

  std::vector<std::shared_ptr<Unawaited>> unawaited_;
  std::atomic<int> awaited_{0};
};

// Runs what uses the encoders, or frees memory that streams may use, while nothing is being scheduled.
void between_schedules(const std::function<void()>& work);

// The stack of a thread that drives a GPU.
constexpr std::size_t gpu_stack_bytes = std::size_t{64} << 20;

// Whether all kernels of a graph are known to be there.
enum class Kernels { are_there, may_be_made };

// Schedules the graphs of arrays; to be called under the lock of the scheduling.
void schedule_outputs(std::span<const mlx_array> outputs, Kernels kernels = Kernels::may_be_made);

// The same, but for the failures of other evaluations. On a GPU MLX throws such a failure into the evaluation that it
// schedules next. The one that failed sees it by the marks on its arrays, and this one is scheduled again, unless it
// rests on arrays that failed.
void schedule_undisturbed(std::span<const mlx_array> outputs, Kernels kernels);

// Waits for all that was scheduled on the stream, and throws what failed there and nobody was told of. Under the lock
// of the scheduling.
void finish_stream(mlx_stream stream);

// Throws away what MLX may have kept of an error that was raised already, so that nobody else gets it.
void clear_error(mlx_stream stream);

}  // namespace mlx_nif
