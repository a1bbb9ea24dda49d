// The streams that operations run on, usable from any thread.
#pragma once

#include <array>
#include <mutex>
#include <string>
#include <vector>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// MLX's own default streams belong to a thread, and an array made on one thread's stream cannot be evaluated on
// another. Streams of the kind used here are MLX's for bindings that do the locking themselves (`Scheduling`,
// `GraphLock`).
class Streams {
 public:
  static Streams& instance();

  // Makes the default streams; called once, before any other use of MLX. Where MLX can't be used, nothing can be but
  // this: each `adopt_thread` throws an Error that says why.
  void start();
  bool started() const { return failure_.empty(); }

  // Makes the default streams this thread's too, since MLX's transforms use the thread's own.
  void adopt_thread() {
    thread_local bool adopted = false;
    if (!adopted) {
      require_started();
      set_thread_defaults();
      adopted = true;
    }
  }

  bool has(mlx_device_type type) const { return static_cast<bool>(defaults_[type]); }
  mlx_device_type default_device() const { return has(MLX_GPU) ? MLX_GPU : MLX_CPU; }

  // Throws for a device that this machine does not have.
  mlx_stream default_of(mlx_device_type type) const;
  mlx_stream default_stream() const { return default_of(default_device()); }
  // For an operation on arrays of that type: no GPU has f64.
  mlx_stream default_stream(mlx_dtype type) const {
    return type == MLX_FLOAT64 ? default_of(MLX_CPU) : default_stream();
  }

  // MLX never frees a stream and its thread, so that they are used again. A new one goes into a table of MLX's that
  // scheduling reads: to be called `between_schedules`. Throws Error when too many are in use.
  StreamHandle borrow(mlx_device_type type);
  void give_back(StreamHandle stream, mlx_device_type type);

 private:
  void make_defaults();
  void require_started() const;
  void set_thread_defaults();
  static StreamHandle make(mlx_device_type type);

  std::string failure_;
  std::array<StreamHandle, 2> defaults_;
  std::mutex mutex_;
  std::array<std::vector<StreamHandle>, 2> idle_;
  std::array<int, 2> made_{};
};

mlx_device_type device_of(mlx_stream stream);

// Whether the GPU is one of NVIDIA.
bool has_cuda();

}  // namespace mlx_nif
