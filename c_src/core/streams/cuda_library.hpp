// The functions of CUDA's libraries, which MLX loads and this one is not built against.
#pragma once

#include <dlfcn.h>

namespace mlx_nif {

class CudaLibrary {
 public:
  // Has no function where MLX has not loaded this file.
  explicit CudaLibrary(const char* file) : handle_(dlopen(file, RTLD_LAZY | RTLD_NOLOAD)) {}

  // False when there is no function of that name.
  template <typename Function>
  bool find(Function*& function, const char* name) const {
    function = handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(handle_, name));
    return function != nullptr;
  }

 private:
  // Never closed: the library stays as long as MLX.
  void* handle_;
};

}  // namespace mlx_nif
