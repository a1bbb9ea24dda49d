#include "core/deep_thread.hpp"

#include <signal.h>

#include <cstddef>
#include <system_error>
#include <utility>

#include "core/streams.hpp"

namespace mlx_nif {

constexpr std::size_t stack_bytes = std::size_t{64} << 20;

DeepThread::DeepThread() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int status = pthread_create(&thread, &attributes, serve, this);
  pthread_attr_destroy(&attributes);
  if (status != 0) {
    throw std::system_error(status, std::generic_category(), "a thread could not be started");
  }
}

void DeepThread::run(const std::function<void()>& work) {
  work_ = &work;
  given_.release();
  done_.acquire();
  if (error_) {
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

void* DeepThread::serve(void* thread) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  auto& self = *static_cast<DeepThread*>(thread);
  for (;;) {
    self.given_.acquire();
    try {
      Streams::instance().adopt_thread();
      (*self.work_)();
    } catch (...) {
      self.error_ = std::current_exception();
    }
    self.done_.release();
  }
}

}  // namespace mlx_nif
