// Starts the thread, which waits for ever once the work is done.
#include "core/threads/main_thread.hpp"

#include <signal.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "core/threads/autorelease_pool.hpp"

namespace mlx_nif {

void on_main_thread(const std::function<void()>& work) {
  std::packaged_task<void()> task(work);
  std::future<void> result = task.get_future();
  std::thread([task = std::move(task)]() mutable {
    // No signal wakes it up either: the library may be unloaded one day.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    {
      [[maybe_unused]] const AutoreleasePool pool;
      task();
    }
    for (;;) {
      pause();
    }
  }).detach();
  result.get();
}

}  // namespace mlx_nif
