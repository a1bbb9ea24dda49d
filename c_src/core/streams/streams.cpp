// Makes the streams of MLX, and keeps those that nobody uses for the next borrower.
#include "core/streams/streams.hpp"

#include <pthread.h>

#include <cstdlib>
#include <format>

#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/streams/environment.hpp"
#include "core/streams/late_failure.hpp"

namespace mlx_nif {
namespace {

// A stream of a CPU is a thread, and one of a GPU a queue of commands, of which Metal fails to make more than some
// hundreds.
constexpr int most_streams = 256;

const char* name_of(mlx_device_type type) {
  return type == MLX_GPU ? "GPU" : "CPU";
}

// Threads that are started meanwhile never take the processor from the thread that wakes them. Otherwise, where a
// stream and the thread that fills its queue share a core, the two take turns with each task.
class PatientThreads {
#ifdef SCHED_BATCH
 public:
  PatientThreads() {
    pthread_getschedparam(pthread_self(), &policy_, &parameters_);
    if (policy_ == SCHED_OTHER) {
      pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters_);
    }
  }
  ~PatientThreads() { pthread_setschedparam(pthread_self(), policy_, &parameters_); }
  PatientThreads(const PatientThreads&) = delete;
  PatientThreads& operator=(const PatientThreads&) = delete;

 private:
  int policy_ = SCHED_OTHER;
  sched_param parameters_{};
#endif
};

}  // namespace

Streams& Streams::instance() {
  // Never destroyed: the VM runs static destructors while its threads still use the streams.
  static Streams* const streams = new Streams;
  return *streams;
}

void Streams::start() {
  try {
    make_defaults();
    find_failure_marks(default_of(MLX_CPU));
  } catch (const std::exception& error) {
    failure_ = error.what();
  }
}

void Streams::make_defaults() {
  set_environment_defaults();
  // On CUDA the process aborts at its end unless the allocator was made before the first stream.
  std::size_t active = 0;
  check(mlx_get_active_memory(&active));
  for (const auto type : {MLX_CPU, MLX_GPU}) {
    int count = 0;
    check(mlx_device_count(&count, type));
    if (count > 0) {
      defaults_[type] = make(type);
    }
  }
}

void Streams::require_started() const {
  if (!started()) {
    throw Error("MLX cannot be used on this machine: " + failure_);
  }
}

mlx_stream Streams::default_of(mlx_device_type type) const {
  if (!has(type)) {
    throw Error(type == MLX_GPU ? "this machine has no GPU that MLX can use" : "MLX was built without a CPU device");
  }
  return defaults_[type].get();
}

StreamHandle Streams::borrow(mlx_device_type type) {
  default_of(type);
  const std::lock_guard lock(mutex_);
  auto& idle = idle_[type];
  if (idle.empty()) {
    if (made_[type] == most_streams) {
      throw Error(std::format("all {} streams of the {} are in use; a stream can be used again once no process has it",
                              most_streams, name_of(type)));
    }
    StreamHandle stream = make(type);
    ++made_[type];
    return stream;
  }
  StreamHandle stream = std::move(idle.back());
  idle.pop_back();
  return stream;
}

void Streams::give_back(StreamHandle stream, mlx_device_type type) {
  const std::lock_guard lock(mutex_);
  idle_[type].push_back(std::move(stream));
}

void Streams::set_thread_defaults() {
  for (const auto& stream : defaults_) {
    if (stream) {
      check(mlx_set_default_stream(stream.get()));
    }
  }
}

StreamHandle Streams::make(mlx_device_type type) {
  const DeviceHandle device(mlx_device_new_type(type, 0));
  StreamHandle stream = require_made(StreamHandle(mlx_stream_new_thread_unsafe(device.get())));
  if (type == MLX_CPU) {
    // Starts the stream's thread; the first time also MLX's scheduler, which takes this thread for the main one.
    [[maybe_unused]] const PatientThreads patient;
    check(mlx_synchronize(stream.get()));
  }
  return stream;
}

mlx_device_type device_of(mlx_stream stream) {
  return on_cpu(stream_of(stream)) ? MLX_CPU : MLX_GPU;
}

bool has_cuda() {
  static const bool has = [] {
    bool available = false;
    check(mlx_cuda_is_available(&available));
    return available;
  }();
  return has;
}

}  // namespace mlx_nif
