// Changes the sums in graphs that are made, and makes softmax, logsumexp and cumulative sums of other operations.
#include "core/guards/long_sums.hpp"

#include <mlx/primitives.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "core/handles/arguments.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

using Axes = std::vector<int>;

// So many elements are added one after another, and longer lines in pieces of this size. In f32 the error of a sum of
// numbers of one sign is then some hundredths of a percent at the most, for as many elements as memory holds.
constexpr std::int64_t longest_line = 4096;
constexpr int piece = 512;

// MLX adds 16 bits in f32 and rounds the sum, to which the error of so many is less. Only f16 it adds in f16 where a
// processor has vectors for it.
constexpr std::int64_t longest_line_of_halves = 65536;
constexpr std::int64_t longest_line_in_f16 = 512;

// So many updates of 16 bits are added to one element before they are added in f32.
constexpr std::int64_t most_half_updates = 16;

// From there on MLX's own operations for softmax and logsumexp are left, as these add in one line.
constexpr std::int64_t longest_line_of_softmax = 65536;

bool adds_in_f32(mx::Dtype type) {
  return type == mx::float32 || type == mx::complex64;
}

Axes normal_axes(const mx::array& a, std::span<const int> axes) {
  Axes normal;
  std::ranges::transform(axes, std::back_inserter(normal),
                         [&](int axis) { return axis < 0 ? axis + static_cast<int>(a.ndim()) : axis; });
  return normal;
}

std::int64_t line_length(const mx::array& a, const Axes& axes) {
  return std::accumulate(axes.begin(), axes.end(), std::int64_t{1},
                         [&](std::int64_t length, int axis) { return length * a.shape(axis); });
}

mx::array part(const mx::array& a, int axis, int start, int stop, mx::Stream s) {
  mx::Shape starts(a.ndim(), 0);
  mx::Shape stops = a.shape();
  starts[axis] = start;
  stops[axis] = stop;
  return mx::slice(a, std::move(starts), std::move(stops), s);
}

// The sums of the pieces of an axis, in their order.
mx::array sums_of_pieces(const mx::array& a, int axis, mx::Stream s) {
  const int size = a.shape(axis);
  if (size <= piece) {
    return mx::sum(a, axis, true, s);
  }
  const int whole = size - size % piece;
  const mx::array front = whole == size ? a : part(a, axis, 0, whole, s);
  const mx::array sums = mx::sum(mx::unflatten(front, axis, {whole / piece, piece}, s), axis + 1, false, s);
  if (whole == size) {
    return sums;
  }
  return mx::concatenate({sums, mx::sum(part(a, axis, whole, size, s), axis, true, s)}, axis, s);
}

// Fewer elements with the same sum along the axes.
mx::array shortened(mx::array a, const Axes& axes, mx::Stream s) {
  while (line_length(a, axes) > longest_line) {
    a = sums_of_pieces(a, *std::ranges::max_element(axes, {}, [&](int axis) { return a.shape(axis); }), s);
  }
  return a;
}

// The sum itself, which gets 16 bits only at the end, and zeros beside it: MLX cannot reduce an axis of one element.
mx::array sum_of_halves(const mx::array& a, const Axes& axes, mx::Stream s) {
  const mx::array wide = shortened(mx::astype(a, mx::float32, s), axes, s);
  const mx::array sum = mx::astype(mx::sum(wide, axes, true, s), a.dtype(), s);
  return mx::concatenate({sum, mx::zeros_like(sum, s)}, axes.front(), s);
}

std::int64_t longest_line_of(mx::Dtype type) {
#if defined(__aarch64__)
  if (type == mx::float16) {
    return longest_line_in_f16;
  }
#endif
  return has_16_bits(type) ? longest_line_of_halves : longest_line;
}

// The node stays, with an input that it has less to add of.
void shorten(mx::array& node, mx::Reduce& reduce) {
  if (!on_cpu(reduce.stream())) {
    return;
  }
  const Axes axes = reduce.state().second;
  mx::array& input = node.inputs().front();
  if (line_length(input, axes) <= longest_line_of(input.dtype())) {
    return;
  }
  if (adds_in_f32(input.dtype())) {
    input = shortened(input, axes, reduce.stream());
  } else if (has_16_bits(input.dtype())) {
    input = sum_of_halves(input, axes, reduce.stream());
  }
}

// The node of a scatter stays as well: it adds nothing to what was added in f32. Its inputs are what is added to,
// indices, and updates.
template <typename Scatter>
void scatter_in_f32(mx::array& node, Scatter& scatter, std::int64_t update_count) {
  if (!on_cpu(scatter.stream()) || !has_16_bits(node.dtype()) || update_count <= most_half_updates) {
    return;
  }
  const mx::Stream s = scatter.stream();
  std::vector<mx::array>& inputs = node.inputs();
  std::vector<mx::array> wide = inputs;
  wide.front() = mx::astype(wide.front(), mx::float32, s);
  wide.back() = mx::astype(wide.back(), mx::float32, s);
  const mx::array added(node.shape(), mx::float32, node.primitive_ptr(), std::move(wide));
  inputs.front() = mx::astype(added, node.dtype(), s);
  inputs.back() = mx::zeros_like(inputs.back(), s);
}

// The classes cannot be asked for: on macOS a library has others of the same name.
void add_exactly(mx::array& node) {
  mx::Primitive& primitive = node.primitive();
  const std::string_view name = primitive.name();
  if (name == "Sum") {
    shorten(node, static_cast<mx::Reduce&>(primitive));
  } else if (name == "Scatter Sum") {
    const std::vector<mx::array>& inputs = node.inputs();
    const std::size_t updates = inputs.size() > 2 ? inputs[1].size() : 1;
    scatter_in_f32(node, static_cast<mx::Scatter&>(primitive), static_cast<std::int64_t>(updates));
  } else if (name == "ScatterAxis Sum") {
    auto& scatter = static_cast<mx::ScatterAxis&>(primitive);
    scatter_in_f32(node, scatter, node.inputs().back().shape(scatter.state().second));
  }
}

Axes all_axes(mlx_array a) {
  Axes axes(mlx_array_ndim(a));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

// MLX refuses axes that are not there.
bool is_long(mlx_array a, std::span<const int> axes, mlx_stream s) {
  if (!on_cpu(stream_of(s)) || !std::ranges::all_of(axes, [&](int axis) { return normal_axis(a, axis).has_value(); })) {
    return false;
  }
  const mx::array& array = array_of(a);
  return array.dtype() != mx::float64 && array.dtype() != mx::complex64 &&
         line_length(array, normal_axes(array, axes)) > longest_line_of_softmax;
}

// What softmax and logsumexp have in common: the greatest elements, and how much e to the power of the others is of
// that.
struct Exponentials {
  Exponentials(mlx_array a, std::span<const int> along, mx::Stream s)
      : axes(normal_axes(array_of(a), along)),
        wide(mx::astype(array_of(a), mx::float32, s)),
        greatest(mx::stop_gradient(mx::max(wide, axes, true, s), s)),
        each(mx::exp(mx::subtract(wide, greatest, s), s)),
        sum(mx::sum(each, axes, true, s)) {}

  Axes axes;
  mx::array wide;
  mx::array greatest;
  mx::array each;
  mx::array sum;
};

int set_result_in_pieces(mlx_array* result, const mx::array& made, mlx_array a) {
  check(set_result(result, made));
  add_in_pieces(std::span(result, 1), std::span(&a, 1));
  return 0;
}

mx::Dtype float_type(mx::Dtype type) {
  return mx::issubdtype(type, mx::inexact) ? type : mx::float32;
}

int softmax_along(mlx_array* result, mlx_array a, std::span<const int> axes, bool precise, mlx_stream s) {
  if (is_long(a, axes, s)) {
    const mx::Stream stream = stream_of(s);
    const Exponentials of(a, axes, stream);
    return set_result_in_pieces(
        result, mx::astype(mx::divide(of.each, of.sum, stream), float_type(array_of(a).dtype()), stream), a);
  }
  const bool in_f32 = on_cpu(stream_of(s)) && has_16_bits(array_of(a).dtype());
  return in_pieces<&mlx_softmax_axes>(result, a, axes.data(), axes.size(), precise || in_f32, s);
}

int logsumexp_along(mlx_array* result, mlx_array a, std::span<const int> axes, bool keepdims, mlx_stream s) {
  if (is_long(a, axes, s)) {
    const mx::Stream stream = stream_of(s);
    const Exponentials of(a, axes, stream);
    const mx::array sum = mx::add(mx::log(of.sum, stream), of.greatest, stream);
    const mx::array made = mx::astype(mx::where(mx::isinf(of.greatest, stream), of.greatest, sum, stream),
                                      float_type(array_of(a).dtype()), stream);
    return set_result_in_pieces(result, keepdims ? made : mx::squeeze(made, of.axes, stream), a);
  }
  return in_pieces<&mlx_logsumexp_axes>(result, a, axes.data(), axes.size(), keepdims, s);
}

// A sum up to each element, by `scan(type)`. In 16 bits it is the sums in f32.
template <typename Scan>
int cumulative(mlx_array* result, mlx_array a, mlx_optional_dtype dtype, mlx_stream s, const Scan& scan) {
  const mlx_dtype type = dtype.has_value ? dtype.value : mlx_array_dtype(a);
  if (!on_cpu(stream_of(s)) || (type != MLX_FLOAT16 && type != MLX_BFLOAT16)) {
    return scan(result, dtype);
  }
  ArrayHandle wide;
  check(scan(wide.out(), mlx_optional_dtype{MLX_FLOAT32, true}));
  return mlx_astype(result, wide.get(), type, s);
}

}  // namespace

void add_in_pieces(std::span<const mlx_array> results, std::span<const mlx_array> inputs) {
  if (differentiating() || mapping() || portable()) {
    return;
  }
  NodeIds known;
  for (const mlx_array input : inputs) {
    if (input.ctx != nullptr) {
      known.insert(array_of(input).id());
    }
  }
  for_each_node(arrays_of(results), std::move(known), add_exactly);
}

ArrayHandle widened(mlx_array a, Integers integers, mlx_stream s) {
  const mx::array& array = array_of(a);
  const mx::Dtype type = array.dtype();
  if (has_16_bits(type)) {
    return handle_of(mx::astype(array, mx::float32, stream_of(s)));
  }
  if (mx::issubdtype(type, mx::inexact) || (integers == Integers::s64 && mx::size_of(type) == 8)) {
    return handle_of(array);
  }
  return handle_of(mx::astype(array, integers == Integers::s64 ? mx::int64 : mx::float32, stream_of(s)));
}

int narrowed(mlx_array* result, mlx_array wide, mlx_array a, mlx_stream s) {
  return has_16_bits(array_of(a).dtype()) ? mlx_astype(result, wide, mlx_array_dtype(a), s)
                                          : mlx_array_set(result, wide);
}

namespace guarded {

int softmax(mlx_array* result, mlx_array a, bool precise, mlx_stream s) {
  require_all({a});
  return softmax_along(result, a, all_axes(a), precise, s);
}

int softmax_axis(mlx_array* result, mlx_array a, int axis, bool precise, mlx_stream s) {
  require_all({a});
  return softmax_along(result, a, std::span(&axis, 1), precise, s);
}

int softmax_axes(mlx_array* result, mlx_array a, const int* axes, size_t axes_count, bool precise, mlx_stream s) {
  require_all({a});
  return softmax_along(result, a, std::span(axes, axes_count), precise, s);
}

int logsumexp(mlx_array* result, mlx_array a, bool keepdims, mlx_stream s) {
  require_all({a});
  return logsumexp_along(result, a, all_axes(a), keepdims, s);
}

int logsumexp_axis(mlx_array* result, mlx_array a, int axis, bool keepdims, mlx_stream s) {
  require_all({a});
  return logsumexp_along(result, a, std::span(&axis, 1), keepdims, s);
}

int logsumexp_axes(mlx_array* result, mlx_array a, const int* axes, size_t axes_count, bool keepdims, mlx_stream s) {
  require_all({a});
  return logsumexp_along(result, a, std::span(axes, axes_count), keepdims, s);
}

int cumsum(mlx_array* result, mlx_array a, bool reverse, bool inclusive, mlx_optional_dtype dtype, mlx_stream s) {
  require_all({a});
  return cumulative(result, a, dtype, s, [&](mlx_array* sums, mlx_optional_dtype type) {
    return mlx_cumsum(sums, a, reverse, inclusive, type, s);
  });
}

int cumsum_axis(mlx_array* result, mlx_array a, int axis, bool reverse, bool inclusive, mlx_optional_dtype dtype,
                mlx_stream s) {
  require_all({a});
  return cumulative(result, a, dtype, s, [&](mlx_array* sums, mlx_optional_dtype type) {
    return mlx_cumsum_axis(sums, a, axis, reverse, inclusive, type, s);
  });
}

}  // namespace guarded
}  // namespace mlx_nif
