// The operation that copies patches, and what a convolution and its derivatives are made of by it.
#include "core/kernels/patches.hpp"

#include <mlx/allocator.h>
#include <mlx/backend/cpu/encoder.h>
#include <mlx/ops.h>
#include <mlx/primitives.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "core/recording/ruled_operation.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/cpu_workers.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

constexpr int most_axes = 3;

// An axis of a convolution. One without a size of its own is one element that the kernel sees once.
struct Axis {
  int size = 1;
  int kernel = 1;
  int steps = 1;
  int stride = 1;
  int padding = 0;
  int kernel_dilation = 1;
  int input_dilation = 1;
  std::ptrdiff_t jump = 0;  // from one element to the next in memory
};

int reach(const mx::array& weight, const PatchGeometry& geometry, std::size_t axis) {
  return geometry.kernel_dilation[axis] * (weight.shape(static_cast<int>(axis) + 1) - 1);
}

// The elements along an axis with gaps between them, without padding.
int spread(const mx::array& input, const PatchGeometry& geometry, std::size_t axis) {
  return geometry.input_dilation[axis] * (input.shape(static_cast<int>(axis) + 1) - 1) + 1;
}

int steps_along(const mx::array& input, const mx::array& weight, const PatchGeometry& geometry, std::size_t axis) {
  const int room = spread(input, geometry, axis) + geometry.padding_low[axis] + geometry.padding_high[axis] - 1 -
                   reach(weight, geometry, axis);
  return room < 0 ? 0 : room / geometry.stride[axis] + 1;
}

class Patches final : public mx::UnaryPrimitive {
 public:
  Patches(mx::Stream stream, std::vector<int> kernel, std::vector<int> steps, PatchGeometry geometry)
      : UnaryPrimitive(stream), kernel_(std::move(kernel)), steps_(std::move(steps)), geometry_(std::move(geometry)) {}

  void eval_cpu(const std::vector<mx::array>& inputs, mx::array& output) override {
    output.set_data(mx::allocator::malloc(output.nbytes()));
    auto& encoder = mx::cpu::get_command_encoder(stream());
    encoder.set_input_array(inputs[0]);
    encoder.set_output_array(output);
    encoder.dispatch([copy = Copy(inputs[0], kernel_, steps_, geometry_), to = output.data<float>()] { copy.all(to); });
  }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override {
    throw std::runtime_error("[conv_general] patches are copied on a CPU");
  }

  const char* name() const override { return "Patches"; }

 private:
  class Copy {
   public:
    Copy(const mx::array& input, const std::vector<int>& kernel, const std::vector<int>& steps,
         const PatchGeometry& geometry)
        : from_(input.data<float>()),
          batch_(input.shape(0)),
          batch_jump_(static_cast<std::ptrdiff_t>(input.strides(0))),
          channels_(input.shape(-1)),
          channel_jump_(static_cast<std::ptrdiff_t>(input.strides(-1))),
          flip_(geometry.flip) {
      const std::size_t missing = most_axes - kernel.size();
      for (std::size_t axis = 0; axis < kernel.size(); ++axis) {
        const int place = static_cast<int>(axis) + 1;
        axes_[missing + axis] = {.size = input.shape(place),
                                 .kernel = kernel[axis],
                                 .steps = steps[axis],
                                 .stride = geometry.stride[axis],
                                 .padding = geometry.padding_low[axis],
                                 .kernel_dilation = geometry.kernel_dilation[axis],
                                 .input_dilation = geometry.input_dilation[axis],
                                 .jump = static_cast<std::ptrdiff_t>(input.strides(place))};
      }
    }

    // A line is the patches along the last axis.
    void all(float* to) const {
      const std::size_t lines = static_cast<std::size_t>(batch_) * axes_[0].steps * axes_[1].steps;
      const std::size_t length =
          static_cast<std::size_t>(axes_[2].steps) * axes_[0].kernel * axes_[1].kernel * axes_[2].kernel * channels_;
      in_ranges(lines, lines * length, [&](std::size_t begin, std::size_t end) {
        for (std::size_t line = begin; line < end; ++line) {
          copy_line(line, to + line * length);
        }
      });
    }

   private:
    // From the first element of an axis to the one that the kernel sees; nothing in the padding and between elements.
    std::optional<std::ptrdiff_t> seen(const Axis& axis, int step, int element) const {
      const int of_kernel = flip_ ? axis.kernel - 1 - element : element;
      const int place = step * axis.stride + of_kernel * axis.kernel_dilation - axis.padding;
      if (place < 0 || place % axis.input_dilation != 0 || place / axis.input_dilation >= axis.size) {
        return std::nullopt;
      }
      return place / axis.input_dilation * axis.jump;
    }

    void copy_line(std::size_t line, float* to) const {
      const auto [depth, height, width] = axes_;
      const int row = static_cast<int>(line % height.steps);
      const int plane = static_cast<int>(line / height.steps % depth.steps);
      const float* const image = from_ + static_cast<std::ptrdiff_t>(line / height.steps / depth.steps) * batch_jump_;
      for (int step = 0; step < width.steps; ++step) {
        for (int z = 0; z < depth.kernel; ++z) {
          const auto seen_plane = seen(depth, plane, z);
          for (int y = 0; y < height.kernel; ++y) {
            const auto seen_row = seen(height, row, y);
            to = seen_plane && seen_row ? copy_row(image + *seen_plane + *seen_row, step, to) : clear(to, width.kernel);
          }
        }
      }
    }

    float* clear(float* to, int elements) const { return std::fill_n(to, std::ptrdiff_t{elements} * channels_, 0.0f); }

    // What the kernel sees in a row.
    float* copy_row(const float* row, int step, float* to) const {
      const Axis& width = axes_[most_axes - 1];
      const int first = step * width.stride - width.padding;
      const bool together = !flip_ && width.kernel_dilation == 1 && width.input_dilation == 1 && channel_jump_ == 1 &&
                            width.jump == channels_ && first >= 0 && first + width.kernel <= width.size;
      if (together) {
        const std::ptrdiff_t count = std::ptrdiff_t{width.kernel} * channels_;
        return std::copy_n(row + first * width.jump, count, to);
      }
      for (int x = 0; x < width.kernel; ++x) {
        const auto place = seen(width, step, x);
        to = place ? copy_channels(row + *place, to) : clear(to, 1);
      }
      return to;
    }

    float* copy_channels(const float* element, float* to) const {
      if (channel_jump_ == 1) {
        return std::copy_n(element, channels_, to);
      }
      for (int channel = 0; channel < channels_; ++channel) {
        *to++ = element[channel * channel_jump_];
      }
      return to;
    }

    const float* from_;
    int batch_;
    std::ptrdiff_t batch_jump_;
    int channels_;
    std::ptrdiff_t channel_jump_;
    bool flip_;
    std::array<Axis, most_axes> axes_;
  };

  std::vector<int> kernel_;
  std::vector<int> steps_;
  PatchGeometry geometry_;
};

// {patches, elements of a patch}
mx::array patches_of(const mx::array& input, const mx::array& weight, const PatchGeometry& geometry,
                     mx::Stream stream) {
  const std::size_t axes = geometry.stride.size();
  std::vector<int> kernel, steps;
  int count = input.shape(0), elements = input.shape(-1);
  bool points = true;
  for (std::size_t axis = 0; axis < axes; ++axis) {
    kernel.push_back(weight.shape(static_cast<int>(axis) + 1));
    steps.push_back(steps_along(input, weight, geometry, axis));
    count *= steps.back();
    elements *= kernel.back();
    points = points && kernel.back() == 1 && steps.back() == input.shape(static_cast<int>(axis) + 1);
  }
  if (points) {
    return mx::reshape(input, {count, elements}, stream);
  }
  return mx::array({count, elements}, mx::float32,
                   std::make_shared<Patches>(stream, std::move(kernel), std::move(steps), geometry), {input});
}

mx::array convolve(const mx::array& input, const mx::array& weight, const PatchGeometry& geometry, mx::Stream stream) {
  mx::Shape shape = input.shape();
  for (std::size_t axis = 0; axis < geometry.stride.size(); ++axis) {
    shape[axis + 1] = steps_along(input, weight, geometry, axis);
  }
  shape.back() = weight.shape(0);
  const mx::array rows = mx::transpose(mx::reshape(weight, {weight.shape(0), -1}, stream), stream);
  return mx::reshape(mx::matmul(patches_of(input, weight, geometry, stream), rows, stream), std::move(shape), stream);
}

// The input's cotangent is a convolution of that of the result, which is spread by the steps, with the kernel the other
// way round. Where the padding was wider than the kernel, what lies in it alone is cut off by a negative one.
mx::array cotangent_of_input(const mx::array& input, const mx::array& weight, const mx::array& cotangent,
                             const PatchGeometry& geometry, mx::Stream stream) {
  PatchGeometry back = geometry;
  back.stride = geometry.input_dilation;
  back.input_dilation = geometry.stride;
  back.flip = !geometry.flip;
  for (std::size_t axis = 0; axis < geometry.stride.size(); ++axis) {
    back.padding_low[axis] = reach(weight, geometry, axis) - geometry.padding_low[axis];
    back.padding_high[axis] =
        spread(input, geometry, axis) - spread(cotangent, back, axis) + geometry.padding_low[axis];
  }
  return convolve(cotangent, mx::swapaxes(weight, 0, -1, stream), back, stream);
}

mx::array cotangent_of_weight(const mx::array& input, const mx::array& weight, const mx::array& cotangent,
                              const PatchGeometry& geometry, mx::Stream stream) {
  const mx::array rows = mx::transpose(mx::reshape(cotangent, {-1, weight.shape(0)}, stream), stream);
  return mx::reshape(mx::matmul(rows, patches_of(input, weight, geometry, stream), stream), weight.shape(), stream);
}

}  // namespace

bool is_of_patches(const mx::array& input, const mx::array& weight, const PatchGeometry& geometry, mx::Stream stream) {
  if (!on_cpu(stream) || input.dtype() != mx::float32 || weight.dtype() != mx::float32 ||
      input.shape(-1) != weight.shape(-1) || input.size() == 0 || weight.size() == 0) {
    return false;
  }
  std::int64_t patches = input.shape(0);
  for (std::size_t axis = 0; axis < geometry.stride.size(); ++axis) {
    const int steps = steps_along(input, weight, geometry, axis);
    patches *= steps;
    if (steps < 1 || patches > std::numeric_limits<int>::max() || geometry.padding_low[axis] < 0 ||
        geometry.padding_high[axis] < 0) {
      return false;
    }
  }
  return true;
}

mx::array convolve_patches(const mx::array& input, const mx::array& weight, const PatchGeometry& geometry,
                           mx::Stream stream) {
  TransformRules rules;
  rules.vjp = [=](const MlxArrays& primals, const MlxArrays& cotangents, const MlxArrays&) -> MlxArrays {
    return {cotangent_of_input(primals[0], primals[1], cotangents[0], geometry, stream),
            cotangent_of_weight(primals[0], primals[1], cotangents[0], geometry, stream)};
  };
  rules.jvp = [=](const MlxArrays& primals, const MlxArrays& tangents) -> MlxArrays {
    return {mx::add(convolve(tangents[0], primals[1], geometry, stream),
                    convolve(primals[0], tangents[1], geometry, stream), stream)};
  };
  const auto operation = [=](const MlxArrays& of) -> MlxArrays { return {convolve(of[0], of[1], geometry, stream)}; };
  return ruled(operation, {input, weight}, rules)[0];
}

}  // namespace mlx_nif
