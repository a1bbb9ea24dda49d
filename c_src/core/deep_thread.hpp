// A thread with a deep stack.
#pragma once

#include <pthread.h>

#include <exception>
#include <functional>
#include <semaphore>

namespace mlx_nif {

// Encoding for a GPU can compile kernels, which overflows the stack of the VM's schedulers (320 KiB on dirty ones).
class DeepThread {
 public:
  DeepThread();
  DeepThread(const DeepThread&) = delete;
  DeepThread& operator=(const DeepThread&) = delete;

  // Runs the work and throws what it throws. For one caller at a time.
  void run(const std::function<void()>& work);

 private:
  static void* serve(void* thread);

  const std::function<void()>* work_ = nullptr;
  std::exception_ptr error_;
  std::binary_semaphore given_{0};
  std::binary_semaphore done_{0};
};

}  // namespace mlx_nif
