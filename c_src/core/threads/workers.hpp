// Threads that compute pieces of a product, beside the thread that asks for it.
//
// OpenBLAS has threads of its own, which share what they have rearranged. So they wait for each other in the middle of
// a product, and where another program has the core of one of them, all of them wait for its turn. After a product they
// spin for 26 ms, in which others lack a core, such as the thread that fills the queue of a stream of MLX.
//
// These take one piece after the other as long as there are any, and sleep when there are none. A thread that gets no
// core takes no piece, so that the others compute it.

#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>

#if defined(__APPLE__)
#include <dispatch/dispatch.h>
#else
#include <semaphore.h>
#endif

namespace mlx_nif {

// macOS has no semaphores of POSIX within a process.
class Semaphore {
 public:
#if defined(__APPLE__)
  void start() { semaphore_ = dispatch_semaphore_create(0); }
  void post() { dispatch_semaphore_signal(semaphore_); }
  void wait() { dispatch_semaphore_wait(semaphore_, DISPATCH_TIME_FOREVER); }

 private:
  dispatch_semaphore_t semaphore_ = nullptr;
#else
  void start() { sem_init(&semaphore_, 0, 0); }
  void post() { sem_post(&semaphore_); }
  void wait() {
    while (sem_wait(&semaphore_) != 0) {
    }
  }

 private:
  sem_t semaphore_{};
#endif
};

class Workers {
 public:
  constexpr Workers() = default;

  // Calls work(piece) for each number below `pieces`, on so many threads with the one that asks, and waits for the last
  // one. Returns false, and calls nothing, while they work for another thread: their cores are busy then. The first
  // call decides how many threads there are.
  template <class Work>
  bool run(int threads, int pieces, const Work& work) {
    if (busy_.test_and_set(std::memory_order_acquire)) {
      return false;
    }
    start_threads(threads - 1);
    call_ = [](const void* context, int piece) { (*static_cast<const Work*>(context))(piece); };
    context_ = &work;
    unfinished_.store(pieces, std::memory_order_relaxed);
    open_.store(pieces, std::memory_order_release);
    for (int helper = 0; helper < started_ && helper < pieces - 1; ++helper) {
      offered_.post();
    }
    if (!take_pieces()) {
      finished_.wait();
    }
    busy_.clear(std::memory_order_release);
    return true;
  }

 private:
  // They receive no signals, which are for the threads of the program. Where the system gives no thread, there are
  // fewer.
  void start_threads(int count) {
    if (begun_) {
      return;
    }
    begun_ = true;
    offered_.start();
    finished_.start();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const auto serve = [](void* workers) -> void* { static_cast<Workers*>(workers)->serve(); };
    for (pthread_t thread; started_ < count && pthread_create(&thread, nullptr, serve, this) == 0; ++started_) {
      pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  [[noreturn]] void serve() {
    for (;;) {
      offered_.wait();
      if (take_pieces()) {
        finished_.post();
      }
    }
  }

  // Takes pieces until none is open. Whether the last one to be finished was among them.
  bool take_pieces() {
    bool last = false;
    for (int open = open_.load(std::memory_order_acquire); open > 0;) {
      // What is called is read when a piece is taken: from then on it stays until the piece is finished.
      if (open_.compare_exchange_weak(open, open - 1, std::memory_order_acquire)) {
        call_(context_, open - 1);
        last = unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1;
        open = open_.load(std::memory_order_acquire);
      }
    }
    return last;
  }

  std::atomic_flag busy_;
  bool begun_ = false;
  int started_ = 0;
  Semaphore offered_;
  Semaphore finished_;
  void (*call_)(const void* context, int piece) = nullptr;
  const void* context_ = nullptr;
  // Pieces that nobody has taken, and those that are not finished.
  std::atomic<int> open_ = 0;
  std::atomic<int> unfinished_ = 0;
};

}  // namespace mlx_nif
