// Checks the arguments, and attends at once, or in each call of a compiled function.
#include "core/operations/cached_attention.hpp"

#include <format>
#include <memory>
#include <utility>
#include <vector>

#include "core/handles/arguments.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/operations/attention.hpp"
#include "core/recording/deferred.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// The inputs of the node, in this order.
enum Input : std::size_t { queries, keys, values, key_buffer, value_buffer, start };

constexpr int positions_axis = 2;

void require_buffer(const mx::array& buffer, const mx::array& part) {
  mx::Shape expected = part.shape();
  expected[positions_axis] = buffer.shape(positions_axis);
  if (buffer.dtype() != part.dtype() || buffer.shape() != expected) {
    throw ArgumentError(
        "expected buffers of the type and shape of the keys and values, but for the number of positions");
  }
}

void require_inputs(const std::vector<mx::array>& inputs) {
  for (std::size_t input = queries; input < start; ++input) {
    if (inputs[input].ndim() != 4 || inputs[input].size() == 0) {
      throw ArgumentError("expected queries, keys, values and buffers of four axes that are not empty");
    }
  }
  if (inputs[keys].dtype() != inputs[queries].dtype() || inputs[values].dtype() != inputs[queries].dtype()) {
    throw ArgumentError("expected queries, keys and values of one type");
  }
  require_buffer(inputs[key_buffer], inputs[keys]);
  require_buffer(inputs[value_buffer], inputs[values]);
  const int count = inputs[queries].shape(positions_axis);
  if (inputs[keys].shape(positions_axis) != count || inputs[values].shape(positions_axis) != count) {
    throw ArgumentError("expected as many keys and values as queries");
  }
  if (inputs[key_buffer].shape(positions_axis) != inputs[value_buffer].shape(positions_axis)) {
    throw ArgumentError("expected buffers of as many positions");
  }
  if (inputs[start].ndim() != 0 || inputs[start].dtype() != mx::int32) {
    throw ArgumentError("expected the start to be an array without axes of the type s32");
  }
}

bool is_known(const mx::array& number) {
  return !number.is_tracer() && number.is_available();
}

int position_of(mx::array start, int count, int room) {
  const int position = start.item<int>();
  if (position < 0 || position > room - count) {
    throw ArgumentError(std::format("{} positions from {} on are not in a buffer of {}", count, position, room));
  }
  return position;
}

mx::array written(const mx::array& buffer, const mx::array& part, int position, mx::Stream s) {
  mx::Shape stop = part.shape();
  stop[positions_axis] += position;
  return mx::slice_update(buffer, part, mx::Shape{0, 0, position, 0}, std::move(stop), s);
}

mx::array first(const mx::array& buffer, int count, mx::Stream s) {
  mx::Shape stop = buffer.shape();
  stop[positions_axis] = count;
  return mx::slice(buffer, mx::Shape{0, 0, 0, 0}, std::move(stop), s);
}

std::vector<mx::array> attend(const std::vector<mx::array>& inputs, float scale, mx::Stream s) {
  const int count = inputs[queries].shape(positions_axis);
  const int position = position_of(inputs[start], count, inputs[key_buffer].shape(positions_axis));
  mx::array all_keys = written(inputs[key_buffer], inputs[keys], position, s);
  mx::array all_values = written(inputs[value_buffer], inputs[values], position, s);
  const mx::array known_keys = first(all_keys, position + count, s);
  const mx::array known_values = first(all_values, position + count, s);
  // A single query is the last position and may look at all others.
  const char* mask = count > 1 ? "causal" : "";
  const ArrayHandle output = apply(scaled_dot_product_attention, borrow(inputs[queries]), borrow(known_keys),
                                   borrow(known_values), scale, mask, mlx_array{}, mlx_array{}, false, borrow(s));
  return {array_of(output.get()), std::move(all_keys), std::move(all_values)};
}

std::vector<mx::array> attend_later(const std::vector<mx::array>& inputs, float scale, mx::Stream s) {
  mx::Shape output = inputs[queries].shape();
  output.back() = inputs[values].shape(-1);
  auto operations = [scale, s](const std::vector<mx::array>& called_with) { return attend(called_with, scale, s); };
  return mx::array::make_arrays({std::move(output), inputs[key_buffer].shape(), inputs[value_buffer].shape()},
                                {inputs[queries].dtype(), inputs[key_buffer].dtype(), inputs[value_buffer].dtype()},
                                std::make_shared<Deferred>(s, std::move(operations)), inputs);
}

}  // namespace

int cached_attention(mlx_vector_array* results, mlx_array queries, mlx_array keys, mlx_array values,
                     mlx_array key_buffer, mlx_array value_buffer, mlx_array start, float scale, mlx_stream s) {
  require_all({queries, keys, values, key_buffer, value_buffer, start});
  const std::vector<mx::array> inputs = arrays_of(std::vector{queries, keys, values, key_buffer, value_buffer, start});
  require_inputs(inputs);
  const auto made =
      is_known(inputs[Input::start]) ? attend(inputs, scale, stream_of(s)) : attend_later(inputs, scale, stream_of(s));
  return set_results(results, made);
}

}  // namespace mlx_nif
