// What Objective-C keeps for a thread.
#pragma once

#ifdef __APPLE__
// Of libobjc, whose headers do not declare them; compilers call them for `@autoreleasepool`.
extern "C" void* objc_autoreleasePoolPush();
extern "C" void objc_autoreleasePoolPop(void* pool);
#endif

namespace mlx_nif {

// Metal makes objects that live until a pool of their thread ends. MLX has pools around its evaluations, but not around
// each allocation, event and fence, and the threads of the VM have none: there such objects would stay for ever. Does
// nothing elsewhere.
class AutoreleasePool {
 public:
#ifdef __APPLE__
  AutoreleasePool() : pool_(objc_autoreleasePoolPush()) {}
  ~AutoreleasePool() { objc_autoreleasePoolPop(pool_); }
#else
  AutoreleasePool() {}
  ~AutoreleasePool() {}
#endif
  AutoreleasePool(const AutoreleasePool&) = delete;
  AutoreleasePool& operator=(const AutoreleasePool&) = delete;

#ifdef __APPLE__
 private:
  void* const pool_;
#endif
};

}  // namespace mlx_nif
