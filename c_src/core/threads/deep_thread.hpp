// Threads with deep stacks.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

namespace mlx_nif {

// How deep a stack is to run MLX's transforms of a function of so many operations on it; throws Error when no stack
// would be deep enough.
std::size_t stack_bytes_for(std::size_t nodes);

// Of the stack of this thread.
std::size_t stack_bytes_left();

// Starts a thread that nobody waits for, with a stack of so many bytes. Memory is only taken for what is used of it.
void start_deep_thread(std::size_t stack_bytes, std::function<void()> body);

// MLX's transforms recurse over the operations of a function, and overflow the stack of the VM's schedulers (320 KiB on
// dirty ones) for a function of some thousand. Runs the work here, or on a thread of its own whose stack is deep enough
// for so many nodes; throws Error when no stack would be.
void with_stack_for(std::size_t nodes, const std::function<void()>& work);

// The same, always on another thread. Of what MLX keeps for a thread nothing may be left when the work is done: the
// next work may come to the same one.
void on_deep_thread(std::size_t nodes, const std::function<void()>& work);

// A thread that does one piece of work after another.
class DeepThread {
 public:
  explicit DeepThread(std::size_t stack_bytes);
  DeepThread(const DeepThread&) = delete;
  DeepThread& operator=(const DeepThread&) = delete;

  // Runs the work and throws what it throws. For one caller at a time.
  void run(const std::function<void()>& work);

 private:
  [[noreturn]] void serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  // From when it is given until it is done.
  const std::function<void()>* work_ = nullptr;
  std::exception_ptr error_;
};

// A thread that does pieces of work in the order in which they came, while those who gave them go on.
class DeepQueue {
 public:
  explicit DeepQueue(std::size_t stack_bytes);
  DeepQueue(const DeepQueue&) = delete;
  DeepQueue& operator=(const DeepQueue&) = delete;

  // The work must not throw.
  void add(std::function<void()> work);

 private:
  [[noreturn]] void serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
};

}  // namespace mlx_nif
