// Copies what is not row-major, and keeps the scheduling off while a buffer may move.
#include "core/evaluation/values.hpp"

#include <mlx/mlx.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <mutex>
#include <vector>

#include "core/evaluation/device_memory.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

// A buffer moves as a whole, however small the part of it that is read.
constexpr std::size_t most_bytes_moved_briefly = 256 * 1024;

bool is_row_major(mlx_array array) {
  bool result = false;
  check(_mlx_array_is_row_contiguous(&result, array));
  return result;
}

bool moves_slowly(mlx_array array) {
  return array_of(array).buffer_size() > most_bytes_moved_briefly;
}

// Where the buffer may move, keeps the scheduling off. Throws NeedsDirtyScheduler when it would have to wait and must
// not.
std::unique_lock<std::mutex> lock_buffer(mlx_array array, Waiting waiting) {
  std::unique_lock lock(Scheduling::instance().mutex, std::defer_lock);
  if (buffers_stay() || is_in_small_pool(array)) {
    return lock;
  }
  if (waiting == Waiting::unlimited) {
    lock.lock();
  } else if (!lock.try_lock()) {
    throw NeedsDirtyScheduler();
  }
  return lock;
}

// Moves the buffer where it is not the host's, too.
std::span<const std::byte> data_of(mlx_array row_major) {
  return {reinterpret_cast<const std::byte*>(mlx_array_data_uint8(row_major)), mlx_array_nbytes(row_major)};
}

}  // namespace

ArrayHandle row_major_value(Array& array, Waiting waiting) {
  evaluate(array, waiting);
  if (is_row_major(array.get())) {
    return share(array.get());
  }
  const mlx_stream stream = Streams::instance().default_stream(mlx_array_dtype(array.get()));
  Array contiguous(apply(mlx_contiguous, array.get(), false, stream), std::make_shared<Graph>(), stream);
  evaluate(contiguous, waiting);
  return share(contiguous.get());
}

bool buffers_stay() {
  return !has_cuda();
}

std::span<const std::byte> bytes_of(mlx_array row_major, Waiting waiting) {
  if (mlx_array_nbytes(row_major) == 0) {
    return {};
  }
  if (!buffers_stay() && waiting == Waiting::brief && moves_slowly(row_major)) {
    throw NeedsDirtyScheduler();
  }
  const auto lock = lock_buffer(row_major, waiting);
  return data_of(row_major);
}

void copy_bytes(mlx_array row_major, std::span<std::byte> target, Waiting waiting) {
  if (target.empty()) {
    return;
  }
  const auto lock = lock_buffer(row_major, waiting);
  if (!buffers_stay() && copy_from_gpu(row_major, target)) {
    return;
  }
  if (!buffers_stay() && waiting == Waiting::brief && moves_slowly(row_major)) {
    throw NeedsDirtyScheduler();
  }
  std::ranges::copy(data_of(row_major).first(target.size()), target.begin());
}

std::size_t size_of_buffers(std::span<Array* const> arrays) {
  std::vector<mlx::core::array> values;
  values.reserve(arrays.size());
  std::ranges::transform(arrays, std::back_inserter(values), [](const Array* array) { return array_of(array->get()); });
  return mlx::core::get_array_buffer_size(values);
}

}  // namespace mlx_nif
