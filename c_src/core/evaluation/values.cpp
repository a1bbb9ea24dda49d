// Copies what is not row-major, and keeps the scheduling off while a buffer may move.
#include "core/evaluation/values.hpp"

#include <mlx/mlx.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <mutex>
#include <vector>

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
  const std::size_t size = mlx_array_nbytes(row_major);
  if (size == 0) {
    return {};
  }
  std::unique_lock lock(Scheduling::instance().mutex, std::defer_lock);
  if (!buffers_stay()) {
    if (waiting == Waiting::unlimited) {
      lock.lock();
    } else if (array_of(row_major).buffer_size() > most_bytes_moved_briefly || !lock.try_lock()) {
      throw NeedsDirtyScheduler();
    }
  }
  return {reinterpret_cast<const std::byte*>(mlx_array_data_uint8(row_major)), size};
}

std::size_t size_of_buffers(std::span<Array* const> arrays) {
  std::vector<mlx::core::array> values;
  values.reserve(arrays.size());
  std::ranges::transform(arrays, std::back_inserter(values), [](const Array* array) { return array_of(array->get()); });
  return mlx::core::get_array_buffer_size(values);
}

}  // namespace mlx_nif
