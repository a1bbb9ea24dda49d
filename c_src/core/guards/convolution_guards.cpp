// Makes of each convolution one that MLX computes, differentiates and maps as it should.
#include "core/guards/convolution_guards.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <format>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "core/guards/derivative_guards.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/empty_arrays.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/scalar.hpp"
#include "core/kernels/patches.hpp"
#include "core/memory/array_limit.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif::guarded {
namespace {

constexpr std::int64_t largest_size = std::numeric_limits<int>::max();

// The geometry of a convolution, with a value for each spatial axis. A batch of N inputs has the shape
// {N, spatial..., channels}, the weights {output channels, spatial..., channels of a group}.
struct Convolution {
  mlx_array input;
  mlx_array weight;
  std::vector<int> stride;
  std::vector<int> padding_low;
  std::vector<int> padding_high;
  std::vector<int> kernel_dilation;
  std::vector<int> input_dilation;
  int groups;
  bool flip;
  // Whether it is made of patches of the input, as a product of matrices.
  bool multiplies_patches = false;
};

// MLX takes one value, or none, for all axes.
std::vector<int> for_each_axis(std::span<const int> values, std::size_t axes, int standard) {
  if (values.size() > 1) {
    return {values.begin(), values.end()};
  }
  return std::vector<int>(axes, values.empty() ? standard : values.front());
}

void check_lengths(const Convolution& convolution, std::size_t axes) {
  for (const auto* values : {&convolution.stride, &convolution.padding_low, &convolution.padding_high,
                             &convolution.kernel_dilation, &convolution.input_dilation}) {
    if (values->size() != axes) {
      throw Error(std::format("expected {} values, one for each spatial axis, got {}", axes, values->size()));
    }
  }
}

void check_positive(std::string_view name, const std::vector<int>& values) {
  if (std::ranges::any_of(values, [](int value) { return value < 1; })) {
    throw Error(std::format("the {} has to be at least 1", name));
  }
}

// The elements along an axis after dilation.
std::int64_t dilated(std::int64_t size, std::int64_t dilation) {
  return 1 + dilation * (size - 1);
}

// Steps beyond the end and gaps between no elements change nothing, but MLX computes with them.
void simplify(Convolution& convolution, std::size_t axis, std::int64_t padded) {
  convolution.stride[axis] = static_cast<int>(std::min<std::int64_t>(convolution.stride[axis], padded));
  if (shape_of(convolution.weight)[axis + 1] == 1) {
    convolution.kernel_dilation[axis] = 1;
  }
}

// MLX convolves f64 in f32. A product of matrices is none whose sizes are those of other shapes.
bool is_double(const Convolution& convolution) {
  return !portable() &&
         (mlx_array_dtype(convolution.input) == MLX_FLOAT64 || mlx_array_dtype(convolution.weight) == MLX_FLOAT64);
}

// For CUDA, MLX keeps a plan for each geometry.
bool plans_are_kept(mlx_stream s) {
  static const bool cuda = has_cuda();
  return cuda && device_of(s) == MLX_GPU;
}

std::int64_t steps_along(const Convolution& convolution, std::size_t axis, std::int64_t padded) {
  const std::int64_t kernel = dilated(shape_of(convolution.weight)[axis + 1], convolution.kernel_dilation[axis]);
  return padded < kernel ? 0 : ((padded - kernel) / convolution.stride[axis]) + 1;
}

// For CUDA, MLX keeps a plan for each alignment of the arrays, and then copies those whose order is another one. It
// gives arrays of up to 8 bytes any alignment, others always the same.
bool plans_ignore_alignment(const Convolution& convolution, std::span<const std::int64_t> padded, mlx_stream s) {
  constexpr std::size_t small = 8;
  if (!plans_are_kept(s)) {
    return false;
  }
  std::size_t steps = 1;
  for (std::size_t axis = 0; axis < padded.size(); ++axis) {
    steps *= static_cast<std::size_t>(steps_along(convolution, axis, padded[axis]));
  }
  const std::size_t outputs = steps * static_cast<std::size_t>(shape_of(convolution.input).front()) *
                              static_cast<std::size_t>(shape_of(convolution.weight).front());
  return std::min({mlx_array_nbytes(convolution.input), mlx_array_nbytes(convolution.weight),
                   outputs * mlx_array_itemsize(convolution.input)}) <= small;
}

// On a CPU, MLX copies the padded input, and then each patch of it that the kernel sees.
void check_memory(const Convolution& convolution, std::span<const std::int64_t> padded) {
  const auto input = shape_of(convolution.input);
  const auto weight = shape_of(convolution.weight);
  double patches =
      static_cast<double>(is_double(convolution) ? sizeof(double) : sizeof(float)) * input.front() * input.back();
  double copy = patches;
  for (std::size_t axis = 0; axis < padded.size(); ++axis) {
    copy *= static_cast<double>(padded[axis]);
    patches *= static_cast<double>(steps_along(convolution, axis, padded[axis])) * weight[axis + 1];
  }
  const auto limit = static_cast<double>(array_limit());
  if (std::max(copy, patches) > limit) {
    throw Error(std::format("the convolution takes {:.1f} GB, and the array limit is {:.1f} GB",
                            std::max(copy, patches) / 1e9, limit / 1e9));
  }
}

// MLX loops in steps of these.
void check_common_multiples(const Convolution& convolution, std::size_t axis) {
  const std::int64_t input_dilation = convolution.input_dilation[axis];
  if (std::lcm<std::int64_t>(input_dilation, convolution.kernel_dilation[axis]) > largest_size ||
      std::lcm<std::int64_t>(input_dilation, convolution.stride[axis]) > largest_size) {
    throw Error("the dilations and strides are too large");
  }
}

// What is left of the padding after negative padding cut elements off.
int border(int padding) {
  return std::max(padding, 0);
}

std::int64_t cut_size(const Convolution& convolution, std::size_t axis) {
  return static_cast<std::int64_t>(shape_of(convolution.input)[axis + 1]) + std::min(convolution.padding_low[axis], 0) +
         std::min(convolution.padding_high[axis], 0);
}

// What steps leave of the padded input, which no kernel sees.
int rest(const Convolution& convolution, std::size_t axis, std::int64_t padded) {
  const std::int64_t kernel = dilated(shape_of(convolution.weight)[axis + 1], convolution.kernel_dilation[axis]);
  return padded < kernel ? 0 : static_cast<int>((padded - kernel) % convolution.stride[axis]);
}

// MLX's derivatives are convolutions with other borders, and steps where the convolution has gaps. Where such a border
// is negative, MLX cuts steps off and not elements: a border of the convolution is longer than what the kernel sees
// besides one element, or a rest is left, which counts for the derivative of the derivative in each case.
bool derivative_is_wrong(const Convolution& convolution, std::span<const std::int64_t> padded) {
  for (std::size_t axis = 0; axis < padded.size(); ++axis) {
    const std::int64_t reach = dilated(shape_of(convolution.weight)[axis + 1], convolution.kernel_dilation[axis]) - 1;
    const bool cuts = std::max(convolution.padding_low[axis], convolution.padding_high[axis]) > reach ||
                      rest(convolution, axis, padded[axis]) != 0;
    if (cuts && (convolution.input_dilation[axis] != 1 || differentiating_twice())) {
      return true;
    }
  }
  return false;
}

bool has_gaps(const Convolution& convolution) {
  return std::ranges::any_of(convolution.input_dilation, [](int dilation) { return dilation != 1; });
}

// For CUDA, MLX takes two plans that differ in the gaps of the input only for the same: the other one reads and writes
// elsewhere.
bool plans_ignore_gaps(const Convolution& convolution, mlx_stream s) {
  return has_gaps(convolution) && plans_are_kept(s);
}

// Zeros behind each element of an axis but the last.
ArrayHandle with_gaps(mlx_array input, int axis, int dilation, mlx_array zero, mlx_stream s) {
  const int inner = axis + 1;
  const int none = 0;
  const int gap = dilation - 1;
  const ArrayHandle column = mlx_nif::apply(mlx_expand_dims, input, inner, s);
  const ArrayHandle spread = mlx_nif::apply(mlx_pad, column.get(), &inner, 1, &none, 1, &gap, 1, zero, "constant", s);
  const ArrayHandle row = mlx_nif::apply(mlx_flatten, spread.get(), axis, inner, s);
  const auto shape = shape_of(row.get());
  std::vector<int> stop(shape.begin(), shape.end());
  stop[static_cast<std::size_t>(axis)] -= gap;
  const std::vector<int> start(shape.size(), 0);
  const std::vector<int> step(shape.size(), 1);
  return mlx_nif::apply(mlx_slice, row.get(), start.data(), start.size(), stop.data(), stop.size(), step.data(),
                        step.size(), s);
}

// The input that a convolution without padding, gaps and a rest needs for the same result.
ArrayHandle prepared_input(const Convolution& convolution, std::span<const std::int64_t> padded, mlx_stream s) {
  const auto shape = shape_of(convolution.input);
  const std::size_t count = convolution.stride.size();
  std::vector<int> start(shape.size(), 0);
  std::vector<int> stop(shape.begin(), shape.end());
  const std::vector<int> step(shape.size(), 1);
  std::vector<int> axes;
  std::vector<int> low;
  std::vector<int> high;
  for (std::size_t axis = 0; axis < count; ++axis) {
    start[axis + 1] = -std::min(convolution.padding_low[axis], 0);
    stop[axis + 1] += std::min(convolution.padding_high[axis], 0);
    axes.push_back(static_cast<int>(axis) + 1);
    low.push_back(border(convolution.padding_low[axis]));
    high.push_back(border(convolution.padding_high[axis]));
  }
  const ArrayHandle zero = make_scalar(Scalar(false), mlx_array_dtype(convolution.input));
  ArrayHandle input = mlx_nif::apply(mlx_slice, convolution.input, start.data(), start.size(), stop.data(), stop.size(),
                                     step.data(), step.size(), s);
  for (std::size_t axis = 0; axis < count; ++axis) {
    if (convolution.input_dilation[axis] != 1) {
      input = with_gaps(input.get(), axes[axis], convolution.input_dilation[axis], zero.get(), s);
    }
  }
  const ArrayHandle bordered = mlx_nif::apply(mlx_pad, input.get(), axes.data(), count, low.data(), count, high.data(),
                                              count, zero.get(), "constant", s);
  std::ranges::fill(start, 0);
  std::ranges::copy(shape_of(bordered.get()), stop.begin());
  for (std::size_t axis = 0; axis < count; ++axis) {
    stop[axis + 1] -= rest(convolution, axis, padded[axis]);
  }
  return mlx_nif::apply(mlx_slice, bordered.get(), start.data(), start.size(), stop.data(), stop.size(), step.data(),
                        step.size(), s);
}

// Where the elements are that each step along an axis of `size` elements sees, {steps, elements of the kernel}.
ArrayHandle places_of_steps(const Convolution& convolution, std::size_t axis, int size) {
  const int kernel = shape_of(convolution.weight)[axis + 1];
  const int dilation = convolution.kernel_dilation[axis];
  const int steps = static_cast<int>((size - dilated(kernel, dilation)) / convolution.stride[axis]) + 1;
  std::vector<int> places;
  places.reserve(static_cast<std::size_t>(steps) * static_cast<std::size_t>(kernel));
  for (int step = 0; step < steps; ++step) {
    for (int element = 0; element < kernel; ++element) {
      places.push_back((step * convolution.stride[axis]) +
                       (dilation * (convolution.flip ? kernel - 1 - element : element)));
    }
  }
  const std::array<int, 2> shape{steps, kernel};
  return ArrayHandle(mlx_array_new_data(places.data(), shape.data(), 2, MLX_INT32));
}

// The product of what each step sees with the weights. The input is prepared.
int multiply_patches(mlx_array* result, const Convolution& convolution, mlx_dtype type, mlx_stream s) {
  const int axes = static_cast<int>(convolution.stride.size());
  ArrayHandle patches = mlx_nif::apply(mlx_astype, convolution.input, type, s);
  std::vector<int> order{0};
  for (int axis = 0; axis < axes; ++axis) {
    const int place = (2 * axis) + 1;
    const int size = shape_of(convolution.input)[static_cast<std::size_t>(axis) + 1];
    const ArrayHandle places = places_of_steps(convolution, static_cast<std::size_t>(axis), size);
    patches = mlx_nif::apply(mlx_take_axis, patches.get(), places.get(), place, s);
    order.push_back(place);
  }
  for (int axis = 0; axis <= axes; ++axis) {
    order.push_back(axis == axes ? (2 * axes) + 1 : (2 * axis) + 2);
  }
  const ArrayHandle ordered = mlx_nif::apply(mlx_transpose_axes, patches.get(), order.data(), order.size(), s);
  const ArrayHandle rows = mlx_nif::apply(mlx_flatten, ordered.get(), axes + 1, -1, s);
  const ArrayHandle weight = mlx_nif::apply(mlx_astype, convolution.weight, type, s);
  const ArrayHandle flat = mlx_nif::apply(mlx_flatten, weight.get(), 1, -1, s);
  return mlx_matmul(result, rows.get(), mlx_nif::apply(mlx_swapaxes, flat.get(), 0, 1, s).get(), s);
}

int convolve_in_mlx(mlx_array* result, const Convolution& convolution, mlx_stream s) {
  const std::size_t axes = convolution.stride.size();
  return mlx_conv_general(result, convolution.input, convolution.weight, convolution.stride.data(), axes,
                          convolution.padding_low.data(), axes, convolution.padding_high.data(), axes,
                          convolution.kernel_dilation.data(), axes, convolution.input_dilation.data(), axes,
                          convolution.groups, convolution.flip, s);
}

int convolve_group(mlx_array* result, const Convolution& convolution, mlx_stream s) {
  if (!convolution.multiplies_patches) {
    return convolve_in_mlx(result, convolution, s);
  }
  // It checks its arguments.
  ArrayHandle checked;
  check(convolve_in_mlx(checked.out(), convolution, s));
  return has_no_elements(checked.get()) ? mlx_array_set(result, checked.get())
                                        : multiply_patches(result, convolution, mlx_array_dtype(checked.get()), s);
}

// Mapped over an axis of the weights, MLX mixes the groups.
int convolve(mlx_array* result, const Convolution& convolution, mlx_stream s) {
  const int groups = convolution.groups;
  const bool by_groups = mapping() || convolution.multiplies_patches;
  if (!by_groups || groups == 1 || shape_of(convolution.input).back() % groups != 0 ||
      shape_of(convolution.weight).front() % groups != 0) {
    return convolve_group(result, convolution, s);
  }
  ArrayVectorHandle inputs;
  ArrayVectorHandle weights;
  check(mlx_split(inputs.out(), convolution.input, groups, -1, s));
  check(mlx_split(weights.out(), convolution.weight, groups, 0, s));
  const ArrayVectorHandle results(mlx_vector_array_new());
  for (int group = 0; group < groups; ++group) {
    ArrayHandle input;
    ArrayHandle weight;
    ArrayHandle made;
    check(mlx_vector_array_get(input.out(), inputs.get(), static_cast<std::size_t>(group)));
    check(mlx_vector_array_get(weight.out(), weights.get(), static_cast<std::size_t>(group)));
    Convolution one = convolution;
    one.input = input.get();
    one.weight = weight.get();
    one.groups = 1;
    check(convolve_group(made.out(), one, s));
    check(mlx_vector_array_append_value(results.get(), made.get()));
  }
  return mlx_concatenate_axis(result, results.get(), -1, s);
}

// By a kernel of this library; nothing where it has none.
std::optional<mlx::core::array> of_copied_patches(const Convolution& convolution, mlx::core::Stream stream) {
  if (convolution.groups != 1 || mapping() || portable() || differentiating_twice()) {
    return std::nullopt;
  }
  const PatchGeometry geometry{.stride = convolution.stride,
                               .padding_low = convolution.padding_low,
                               .padding_high = convolution.padding_high,
                               .kernel_dilation = convolution.kernel_dilation,
                               .input_dilation = convolution.input_dilation,
                               .flip = convolution.flip};
  const auto &input = array_of(convolution.input), &weight = array_of(convolution.weight);
  if (!is_of_patches(input, weight, geometry, stream)) {
    return std::nullopt;
  }
  return convolve_patches(input, weight, geometry, stream);
}

int apply(mlx_array* result, Convolution convolution, mlx_stream s) {
  require_all({convolution.input, convolution.weight});
  const auto input = shape_of(convolution.input);
  const auto weight = shape_of(convolution.weight);
  if (input.size() < 3 || input.size() > 5 || weight.size() != input.size()) {
    throw Error(std::format("expected an input and weights of the same 3 to 5 axes, got {} and {} axes", input.size(),
                            weight.size()));
  }
  const std::size_t axes = input.size() - 2;
  check_lengths(convolution, axes);
  check_positive("number of groups", {convolution.groups});
  check_positive("stride", convolution.stride);
  check_positive("dilation", convolution.kernel_dilation);
  check_positive("input dilation", convolution.input_dilation);
  if (std::ranges::any_of(weight.subspan(1), [](int size) { return size == 0; })) {
    throw Error("the weights have no elements");
  }
  std::vector<std::int64_t> padded(axes);
  for (std::size_t axis = 0; axis < axes; ++axis) {
    // Negative padding cuts elements off before the dilation.
    const std::int64_t size = cut_size(convolution, axis);
    if (size < 1) {
      throw Error("the input has no elements along a spatial axis");
    }
    if (size == 1) {
      convolution.input_dilation[axis] = 1;
    }
    padded[axis] = dilated(size, convolution.input_dilation[axis]) + border(convolution.padding_low[axis]) +
                   static_cast<std::int64_t>(border(convolution.padding_high[axis]));
    if (padded[axis] > largest_size) {
      throw Error("the padded input has more than 2147483647 elements along an axis");
    }
    simplify(convolution, axis, padded[axis]);
    check_common_multiples(convolution, axis);
  }
  check_memory(convolution, padded);
  if (const auto made = of_copied_patches(convolution, stream_of(s))) {
    return set_result(result, *made);
  }
  convolution.multiplies_patches = is_double(convolution) || plans_ignore_alignment(convolution, padded, s);
  ArrayHandle prepared;
  if (convolution.multiplies_patches || (differentiating() && derivative_is_wrong(convolution, padded)) ||
      plans_ignore_gaps(convolution, s)) {
    prepared = prepared_input(convolution, padded, s);
    convolution.input = prepared.get();
    std::ranges::fill(convolution.padding_low, 0);
    std::ranges::fill(convolution.padding_high, 0);
    std::ranges::fill(convolution.input_dilation, 1);
  }
  return convolve(result, convolution, s);
}

int forward(mlx_array* result, mlx_array input, mlx_array weight, std::vector<int> stride, std::vector<int> padding,
            std::vector<int> dilation, int groups, mlx_stream s) {
  std::vector<int> input_dilation(stride.size(), 1);
  return apply(result,
               {input, weight, std::move(stride), padding, padding, std::move(dilation), std::move(input_dilation),
                groups, false},
               s);
}

int narrow(std::int64_t size) {
  if (size < -largest_size || size > largest_size) {
    throw Error("the padding is too large");
  }
  return static_cast<int>(size);
}

// A transposed convolution is one with a flipped kernel over the input spread by the stride, padded so that the result
// has the size of what a convolution would have come from.
int transposed(mlx_array* result, mlx_array input, mlx_array weight, std::vector<int> stride,
               const std::vector<int>& padding, std::vector<int> dilation, const std::vector<int>& output_padding,
               int groups, mlx_stream s) {
  require_all({input, weight});
  if (mlx_array_ndim(weight) != stride.size() + 2) {
    throw Error(std::format("expected weights of {} axes, got {}", stride.size() + 2, mlx_array_ndim(weight)));
  }
  std::vector<int> low;
  std::vector<int> high;
  for (std::size_t axis = 0; axis < stride.size(); ++axis) {
    const std::int64_t reach = dilated(shape_of(weight)[axis + 1], dilation[axis]) - 1 - padding[axis];
    low.push_back(narrow(reach));
    high.push_back(narrow(reach + output_padding[axis]));
  }
  std::vector<int> ones(stride.size(), 1);
  return apply(result,
               {input, weight, std::move(ones), std::move(low), std::move(high), std::move(dilation), std::move(stride),
                groups, true},
               s);
}

}  // namespace

int conv_general(mlx_array* result, mlx_array input, mlx_array weight, const int* stride, size_t stride_count,
                 const int* padding_lo, size_t padding_lo_count, const int* padding_hi, size_t padding_hi_count,
                 const int* kernel_dilation, size_t kernel_dilation_count, const int* input_dilation,
                 size_t input_dilation_count, int groups, bool flip, mlx_stream s) {
  require_all({input, weight});
  const std::size_t rank = mlx_array_ndim(input);
  const std::size_t axes = rank < 2 ? 0 : rank - 2;
  return apply(
      result,
      {input, weight, for_each_axis({stride, stride_count}, axes, 1),
       for_each_axis({padding_lo, padding_lo_count}, axes, 0), for_each_axis({padding_hi, padding_hi_count}, axes, 0),
       for_each_axis({kernel_dilation, kernel_dilation_count}, axes, 1),
       for_each_axis({input_dilation, input_dilation_count}, axes, 1), groups, flip},
      s);
}

int conv1d(mlx_array* result, mlx_array input, mlx_array weight, int stride, int padding, int dilation, int groups,
           mlx_stream s) {
  return forward(result, input, weight, {stride}, {padding}, {dilation}, groups, s);
}

int conv2d(mlx_array* result, mlx_array input, mlx_array weight, int stride_0, int stride_1, int padding_0,
           int padding_1, int dilation_0, int dilation_1, int groups, mlx_stream s) {
  return forward(result, input, weight, {stride_0, stride_1}, {padding_0, padding_1}, {dilation_0, dilation_1}, groups,
                 s);
}

int conv3d(mlx_array* result, mlx_array input, mlx_array weight, int stride_0, int stride_1, int stride_2,
           int padding_0, int padding_1, int padding_2, int dilation_0, int dilation_1, int dilation_2, int groups,
           mlx_stream s) {
  return forward(result, input, weight, {stride_0, stride_1, stride_2}, {padding_0, padding_1, padding_2},
                 {dilation_0, dilation_1, dilation_2}, groups, s);
}

int conv_transpose1d(mlx_array* result, mlx_array input, mlx_array weight, int stride, int padding, int dilation,
                     int output_padding, int groups, mlx_stream s) {
  return transposed(result, input, weight, {stride}, {padding}, {dilation}, {output_padding}, groups, s);
}

int conv_transpose2d(mlx_array* result, mlx_array input, mlx_array weight, int stride_0, int stride_1, int padding_0,
                     int padding_1, int dilation_0, int dilation_1, int output_padding_0, int output_padding_1,
                     int groups, mlx_stream s) {
  return transposed(result, input, weight, {stride_0, stride_1}, {padding_0, padding_1}, {dilation_0, dilation_1},
                    {output_padding_0, output_padding_1}, groups, s);
}

int conv_transpose3d(mlx_array* result, mlx_array input, mlx_array weight, int stride_0, int stride_1, int stride_2,
                     int padding_0, int padding_1, int padding_2, int dilation_0, int dilation_1, int dilation_2,
                     int output_padding_0, int output_padding_1, int output_padding_2, int groups, mlx_stream s) {
  return transposed(result, input, weight, {stride_0, stride_1, stride_2}, {padding_0, padding_1, padding_2},
                    {dilation_0, dilation_1, dilation_2}, {output_padding_0, output_padding_1, output_padding_2},
                    groups, s);
}

}  // namespace mlx_nif::guarded
