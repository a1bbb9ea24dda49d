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
#include <semaphore.h>
#include <signal.h>

#include <atomic>

extern "C" int scipy_openblas_get_num_threads();

class Workers {
 public:
  constexpr Workers() = default;

  // How many compute at once, with the one that asks.
  static int threads() { return scipy_openblas_get_num_threads(); }

  // Calls work(piece) for each number below `pieces`, on several threads, and waits for the last one. Returns false,
  // and calls nothing, while they work for another thread: their cores are busy then.
  template <class Work>
  bool run(int pieces, const Work& work) {
    if (busy_.test_and_set(std::memory_order_acquire)) {
      return false;
    }
    start_threads();
    call_ = [](const void* context, int piece) { (*static_cast<const Work*>(context))(piece); };
    context_ = &work;
    unfinished_.store(pieces, std::memory_order_relaxed);
    open_.store(pieces, std::memory_order_release);
    for (int helper = 0; helper < started_ && helper < pieces - 1; ++helper) {
      sem_post(&offered_);
    }
    if (!take_pieces()) {
      wait(finished_);
    }
    busy_.clear(std::memory_order_release);
    return true;
  }

 private:
  // They receive no signals, which are for the threads of the program. Where the system gives no thread, there are
  // fewer.
  void start_threads() {
    if (begun_) {
      return;
    }
    begun_ = true;
    sem_init(&offered_, 0, 0);
    sem_init(&finished_, 0, 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const auto serve = [](void* workers) -> void* { static_cast<Workers*>(workers)->serve(); };
    for (pthread_t thread; started_ < threads() - 1 && pthread_create(&thread, nullptr, serve, this) == 0; ++started_) {
      pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  [[noreturn]] void serve() {
    for (;;) {
      wait(offered_);
      if (take_pieces()) {
        sem_post(&finished_);
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

  static void wait(sem_t& semaphore) {
    while (sem_wait(&semaphore) != 0) {
    }
  }

  std::atomic_flag busy_;
  bool begun_ = false;
  int started_ = 0;
  sem_t offered_{};
  sem_t finished_{};
  void (*call_)(const void* context, int piece) = nullptr;
  const void* context_ = nullptr;
  // Pieces that nobody has taken, and those that are not finished.
  std::atomic<int> open_ = 0;
  std::atomic<int> unfinished_ = 0;
};
