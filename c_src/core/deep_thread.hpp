// Threads with deep stacks.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <semaphore>

namespace mlx_nif {

// Starts a thread that nobody waits for, with a stack of so many bytes. Memory is only taken for what is used of it.
void start_deep_thread(std::size_t stack_bytes, std::function<void()> body);

// MLX's transforms recurse over the operations of a function, and overflow the stack of the VM's schedulers (320 KiB on
// dirty ones) for a function of some thousand. Runs the work here, or on a thread of its own whose stack is deep enough
// for so many nodes; throws Error when no stack would be.
void with_stack_for(std::size_t nodes, const std::function<void()>& work);

// The same, always on a thread of its own.
void on_deep_thread(std::size_t nodes, const std::function<void()>& work);

// A thread that does one piece of work after another. Encoding for a GPU can compile kernels, which overflows the stack
// of a scheduler, too.
class DeepThread {
 public:
  DeepThread();
  DeepThread(const DeepThread&) = delete;
  DeepThread& operator=(const DeepThread&) = delete;

  // Runs the work and throws what it throws. For one caller at a time.
  void run(const std::function<void()>& work);

 private:
  [[noreturn]] void serve();

  const std::function<void()>* work_ = nullptr;
  std::exception_ptr error_;
  std::binary_semaphore given_{0};
  std::binary_semaphore done_{0};
};

}  // namespace mlx_nif
