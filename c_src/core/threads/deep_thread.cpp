// Decides how deep a stack has to be, and has the system start threads with such a stack.
#include "core/threads/deep_thread.hpp"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <format>
#include <memory>
#include <system_error>
#include <utility>

#include "core/handles/error.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/autorelease_pool.hpp"

namespace mlx_nif {
namespace {

// A level of MLX's recursion takes some 300 bytes, and an operation that MLX makes of others is several levels deep.
constexpr std::size_t stack_bytes_per_node = 4096;
constexpr std::size_t stack_bytes_of_the_rest = std::size_t{64} << 10;
constexpr std::size_t least_stack_bytes = std::size_t{1} << 20;
constexpr std::size_t most_stack_bytes = std::size_t{16} << 30;

// Most work needs no deeper stack, and of this one every page may be in use for ever.
constexpr std::size_t kept_stack_bytes = std::size_t{16} << 20;

// The page of Apple Silicon. Darwin refuses a stack that is no multiple of its page.
constexpr std::size_t stack_granularity = std::size_t{16} << 10;

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

void require(int status, const char* what) {
  if (status != 0) {
    throw std::system_error(status, std::generic_category(), what);
  }
}

// A size that every system takes.
std::size_t whole_pages(std::size_t stack_bytes) {
  const std::size_t page = std::max(stack_granularity, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
  const std::size_t bytes = std::max(stack_bytes, static_cast<std::size_t>(PTHREAD_STACK_MIN));
  return (bytes + page - 1) / page * page;
}

class ThreadAttributes {
 public:
  // A thread whose stack is smaller than it takes itself to have would overflow it: no size, no thread.
  explicit ThreadAttributes(std::size_t stack_bytes) {
    require(pthread_attr_init(&attributes_), "a thread could not be described");
    if (const int status = pthread_attr_setstacksize(&attributes_, whole_pages(stack_bytes)); status != 0) {
      pthread_attr_destroy(&attributes_);
      require(status, "a thread cannot have a stack as deep as it needs");
    }
  }
  ~ThreadAttributes() { pthread_attr_destroy(&attributes_); }
  ThreadAttributes(const ThreadAttributes&) = delete;
  ThreadAttributes& operator=(const ThreadAttributes&) = delete;

  const pthread_attr_t* get() const { return &attributes_; }

 private:
  pthread_attr_t attributes_;
};

pthread_t start(std::size_t stack_bytes, std::function<void()> body) {
  auto owned = std::make_unique<std::function<void()>>(std::move(body));
  const ThreadAttributes attributes(stack_bytes);
  pthread_t thread;
  require(pthread_create(&thread, attributes.get(), run_body, owned.get()), "a thread could not be started");
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

// A thread that waits for work: to start one takes as long as to compile a small function, and its first allocations
// are slow. Who finds it at work starts another.
class KeptThread {
 public:
  // False when it is at work.
  bool try_run(const std::function<void()>& work) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) {
      thread_.run(work);
    }
    return lock.owns_lock();
  }

  // Never destroyed, as the thread does not end.
  static KeptThread& instance() {
    static KeptThread* const thread = new KeptThread;
    return *thread;
  }

 private:
  std::mutex mutex_;
  DeepThread thread_{kept_stack_bytes};
};

}  // namespace

// A stack grows downwards.
std::size_t stack_bytes_left() {
  thread_local const std::byte* const end = end_of_stack();
  return static_cast<std::size_t>(static_cast<const std::byte*>(__builtin_frame_address(0)) - end);
}

std::size_t stack_bytes_for(std::size_t nodes) {
  if (nodes > most_stack_bytes / stack_bytes_per_node) {
    throw Error(std::format("a function of {} operations is too long to be transformed", nodes));
  }
  return std::max(least_stack_bytes, nodes * stack_bytes_per_node);
}

void start_deep_thread(std::size_t stack_bytes, std::function<void()> body) {
  require(pthread_detach(start(stack_bytes, std::move(body))), "a thread could not be left to itself");
}

void with_stack_for(std::size_t nodes, const std::function<void()>& work) {
  if (stack_bytes_of_the_rest + nodes * stack_bytes_per_node <= stack_bytes_left()) {
    work();
  } else {
    on_deep_thread(nodes, work);
  }
}

void on_deep_thread(std::size_t nodes, const std::function<void()>& work) {
  const std::size_t stack_bytes = stack_bytes_for(nodes);
  if (stack_bytes <= kept_stack_bytes && KeptThread::instance().try_run(work)) {
    return;
  }
  std::exception_ptr error;
  const pthread_t thread = start(stack_bytes, [&] { error = failure_of(work); });
  pthread_join(thread, nullptr);
  if (error) {
    std::rethrow_exception(error);
  }
}

DeepThread::DeepThread(std::size_t stack_bytes) {
  start_deep_thread(stack_bytes, [this] { serve(); });
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

DeepQueue::DeepQueue(std::size_t stack_bytes) {
  start_deep_thread(stack_bytes, [this] { serve(); });
}

void DeepQueue::add(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.notify_one();
}

void DeepQueue::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !queue_.empty(); });
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    static_cast<void>(failure_of(work));
    work = nullptr;
    lock.lock();
  }
}

}  // namespace mlx_nif
