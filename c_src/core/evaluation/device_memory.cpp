// Asks CUDA's driver, which MLX has loaded, since MLX's library shows nothing of CUDA's runtime.
#include "core/evaluation/device_memory.hpp"

#include <map>
#include <mutex>

#include "core/handles/mlx_objects.hpp"
#include "core/streams/cuda_library.hpp"

namespace mlx_nif {
namespace {

// What the buffer of an array points to on CUDA: `CudaBuffer` of the pinned MLX's backend/cuda/allocator.h, which
// includes headers of CUDA.
struct CudaBuffer {
  std::byte* data;
  std::size_t size;
  int device;
};

// The device of memory that host and GPU share.
constexpr int shared_memory = -1;

// A smaller buffer is as large as this, and has been in such memory from the beginning.
constexpr std::size_t bytes_in_small_pool = 8;

// The driver's functions have had these names and types since CUDA 4. 0 is success.
class Driver {
 public:
  static Driver& instance() {
    // Never destroyed, as the driver's own objects.
    static Driver* const driver = new Driver;
    return *driver;
  }

  bool copy(std::span<std::byte> target, const std::byte* source, int device) {
    return copy_to_host_ != nullptr && has_context(device) &&
           copy_to_host_(target.data(), reinterpret_cast<Address>(source), target.size()) == 0;
  }

 private:
  using Address = unsigned long long;
  using Context = void*;
  using CurrentContext = int(Context*);
  using SetContext = int(Context);
  using RetainContext = int(Context*, int device);
  using CopyToHost = int(void* target, Address source, std::size_t size);

  Driver() {
    const CudaLibrary driver("libcuda.so.1");
    CopyToHost* copy_to_host = nullptr;
    if (driver.find(current_context_, "cuCtxGetCurrent") && driver.find(set_context_, "cuCtxSetCurrent") &&
        driver.find(retain_context_, "cuDevicePrimaryCtxRetain") && driver.find(copy_to_host, "cuMemcpyDtoH_v2")) {
      copy_to_host_ = copy_to_host;
    }
  }

  // A thread that has used CUDA before has one. Else it gets what CUDA's runtime gives it: the primary one of the
  // device.
  bool has_context(int device) {
    Context context = nullptr;
    if (current_context_(&context) != 0) {
      return false;
    }
    return context != nullptr || ((context = primary_context(device)) != nullptr && set_context_(context) == 0);
  }

  // MLX holds it to the end of the process, too.
  Context primary_context(int device) {
    const std::lock_guard lock(mutex_);
    Context& context = primary_contexts_[device];
    if (context == nullptr && retain_context_(&context, device) != 0) {
      context = nullptr;
    }
    return context;
  }

  CurrentContext* current_context_ = nullptr;
  SetContext* set_context_ = nullptr;
  RetainContext* retain_context_ = nullptr;
  CopyToHost* copy_to_host_ = nullptr;
  std::mutex mutex_;
  std::map<int, Context> primary_contexts_;
};

}  // namespace

bool is_in_small_pool(mlx_array array) {
  const auto* buffer = static_cast<const CudaBuffer*>(array_of(array).buffer().ptr());
  return buffer != nullptr && buffer->size == bytes_in_small_pool && buffer->device == shared_memory;
}

bool copy_from_gpu(mlx_array row_major, std::span<std::byte> target) {
  const mlx::core::array& array = array_of(row_major);
  const auto* buffer = static_cast<const CudaBuffer*>(array.buffer().ptr());
  return buffer != nullptr && buffer->device >= 0 &&
         Driver::instance().copy(target, buffer->data + array.offset(), buffer->device);
}

}  // namespace mlx_nif
