#include "core/deep_thread.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <format>
#include <memory>
#include <system_error>
#include <utility>

#include "core/autorelease_pool.hpp"
#include "core/error.hpp"
#include "core/streams.hpp"

namespace mlx_nif {
namespace {

constexpr std::size_t gpu_stack_bytes = std::size_t{64} << 20;

// A level of MLX's recursion takes some 300 bytes, and an operation that MLX makes of others is several levels deep.
constexpr std::size_t stack_bytes_per_node = 4096;
constexpr std::size_t stack_bytes_of_the_rest = std::size_t{64} << 10;
constexpr std::size_t least_stack_bytes = std::size_t{1} << 20;
constexpr std::size_t most_stack_bytes = std::size_t{16} << 30;

const std::byte* end_of_stack() {
#ifdef __APPLE__
  const auto* begin = static_cast<const std::byte*>(pthread_get_stackaddr_np(pthread_self()));
  return begin - pthread_get_stacksize_np(pthread_self());
#else
  pthread_attr_t attributes;
  void* end = nullptr;
  std::size_t size = 0;
  if (const int status = pthread_getattr_np(pthread_self(), &attributes); status != 0) {
    throw std::system_error(status, std::generic_category(), "the stack of a thread could not be found");
  }
  pthread_attr_getstack(&attributes, &end, &size);
  pthread_attr_destroy(&attributes);
  return static_cast<const std::byte*>(end);
#endif
}

// Of the stack of this thread, which grows downwards.
std::size_t stack_bytes_left() {
  thread_local const std::byte* const end = end_of_stack();
  return static_cast<std::size_t>(static_cast<const std::byte*>(__builtin_frame_address(0)) - end);
}

void* run_body(void* argument) {
  // Signals are the VM's.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  [[maybe_unused]] const AutoreleasePool pool;
  const std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(argument));
  (*body)();
  return nullptr;
}

pthread_t start(std::size_t stack_bytes, std::function<void()> body) {
  auto owned = std::make_unique<std::function<void()>>(std::move(body));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_t thread;
  const int status = pthread_create(&thread, &attributes, run_body, owned.get());
  pthread_attr_destroy(&attributes);
  if (status != 0) {
    throw std::system_error(status, std::generic_category(), "a thread could not be started");
  }
  static_cast<void>(owned.release());
  return thread;
}

std::exception_ptr failure_of(const std::function<void()>& work) {
  [[maybe_unused]] const AutoreleasePool pool;
  try {
    Streams::instance().adopt_thread();
    work();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

void start_deep_thread(std::size_t stack_bytes, std::function<void()> body) {
  pthread_detach(start(stack_bytes, std::move(body)));
}

void with_stack_for(std::size_t nodes, const std::function<void()>& work) {
  if (stack_bytes_of_the_rest + nodes * stack_bytes_per_node <= stack_bytes_left()) {
    work();
  } else {
    on_deep_thread(nodes, work);
  }
}

void on_deep_thread(std::size_t nodes, const std::function<void()>& work) {
  if (nodes > most_stack_bytes / stack_bytes_per_node) {
    throw Error(std::format("a function of {} operations is too long to be transformed", nodes));
  }
  std::exception_ptr error;
  const pthread_t thread =
      start(std::max(least_stack_bytes, nodes * stack_bytes_per_node), [&] { error = failure_of(work); });
  // To its end, when what MLX keeps for a thread is gone, too.
  pthread_join(thread, nullptr);
  if (error) {
    std::rethrow_exception(error);
  }
}

DeepThread::DeepThread() {
  start_deep_thread(gpu_stack_bytes, [this] { serve(); });
}

void DeepThread::run(const std::function<void()>& work) {
  std::unique_lock lock(mutex_);
  work_ = &work;
  changed_.notify_all();
  changed_.wait(lock, [this] { return work_ == nullptr; });
  if (error_) {
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

void DeepThread::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return work_ != nullptr; });
    const std::function<void()>& work = *work_;
    lock.unlock();
    std::exception_ptr error = failure_of(work);
    lock.lock();
    error_ = std::move(error);
    work_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace mlx_nif
