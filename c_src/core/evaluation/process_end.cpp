// Ends the process, or at least all scheduling, before MLX and the BLAS are taken down.
#include "core/evaluation/process_end.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "core/evaluation/scheduling.hpp"

namespace mlx_nif {

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
    const auto end = std::chrono::steady_clock::now() + longest_wait;
    while (!Scheduling::instance().mutex.try_lock()) {
      if (std::chrono::steady_clock::now() > end) {
        std::fflush(nullptr);
        _exit(EXIT_FAILURE);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
}
#endif

}  // namespace mlx_nif
