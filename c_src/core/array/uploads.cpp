// Lists of free buffers by their sizes, which are powers of two.
#include "core/array/uploads.hpp"

#include <mlx/mlx.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "core/handles/mlx_objects.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;
using mx::allocator::Buffer;

// MLX has a pool for elements of up to so many bytes, which the host shares.
constexpr std::size_t bytes_in_small_pool = 8;

// To copy more takes longer than to allocate.
constexpr std::size_t most_bytes_of_one = std::size_t{1} << 20;
constexpr std::size_t most_bytes_kept = 16 * most_bytes_of_one;

std::size_t size_of(std::span<const int> shape, mlx_dtype type) {
  std::size_t bytes = mlx_dtype_size(type);
  for (const int dimension : shape) {
    bytes *= static_cast<std::size_t>(dimension);
  }
  return bytes;
}

class KeptBuffers {
 public:
  static KeptBuffers& instance() {
    // Never destroyed: arrays give buffers back until the process ends.
    static KeptBuffers* const buffers = new KeptBuffers;
    return *buffers;
  }

  Buffer take(std::size_t size) {
    {
      const std::lock_guard lock(mutex_);
      std::vector<Buffer>& free = free_of(size);
      if (!free.empty()) {
        const Buffer buffer = free.back();
        free.pop_back();
        bytes_ -= size;
        return buffer;
      }
    }
    return mx::allocator::allocator().malloc(size);
  }

  void give_back(Buffer buffer, std::size_t size) {
    {
      const std::lock_guard lock(mutex_);
      if (bytes_ + size <= most_bytes_kept) {
        free_of(size).push_back(buffer);
        bytes_ += size;
        return;
      }
    }
    mx::allocator::allocator().free(buffer);
  }

  std::size_t bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

  void free_all() {
    std::vector<Buffer> all;
    {
      const std::lock_guard lock(mutex_);
      for (std::vector<Buffer>& free : free_) {
        all.insert(all.end(), free.begin(), free.end());
        free.clear();
      }
      bytes_ = 0;
    }
    for (const Buffer buffer : all) {
      mx::allocator::allocator().free(buffer);
    }
  }

 private:
  std::vector<Buffer>& free_of(std::size_t size) { return free_[std::bit_width(size)]; }

  std::mutex mutex_;
  std::array<std::vector<Buffer>, std::bit_width(most_bytes_of_one) + 1> free_;
  std::size_t bytes_ = 0;
};

ArrayHandle uploaded(const void* elements, std::span<const int> shape, mlx_dtype type) {
  return require_made(ArrayHandle(mlx_array_new_data(elements, shape.data(), static_cast<int>(shape.size()), type)));
}

}  // namespace

ArrayHandle upload(const void* elements, std::span<const int> shape, mlx_dtype type) {
  if (has_cuda()) {
    return upload_into_kept_buffer(elements, shape, type);
  }
  return uploaded(elements, shape, type);
}

ArrayHandle upload_into_kept_buffer(const void* elements, std::span<const int> shape, mlx_dtype type) {
  const std::size_t bytes = size_of(shape, type);
  if (bytes <= bytes_in_small_pool || bytes > most_bytes_of_one) {
    return uploaded(elements, shape, type);
  }
  const std::size_t size = std::bit_ceil(bytes);
  Buffer buffer = KeptBuffers::instance().take(size);
  std::memcpy(buffer.raw_ptr(), elements, bytes);
  mx::allocator::Data data(buffer, [size](Buffer freed) { KeptBuffers::instance().give_back(freed, size); });
  return handle_of(mx::array(std::move(data), mx::Shape(shape.begin(), shape.end()), type_of(type)));
}

std::size_t bytes_kept_for_uploads() {
  return KeptBuffers::instance().bytes();
}

void free_buffers_kept_for_uploads() {
  KeptBuffers::instance().free_all();
}

}  // namespace mlx_nif
