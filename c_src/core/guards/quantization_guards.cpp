// Checks how a matrix is quantized, and unpacks floats of 8 bits where MLX cannot map its own operation.
#include "core/guards/quantization_guards.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "core/guards/mapping_guards.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/scalar.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif::guarded {
namespace {

constexpr std::array bit_widths{1, 2, 3, 4, 5, 6, 8};
constexpr std::array group_sizes{16, 32, 64, 128};

template <typename Values>
bool is_one_of(const Values& values, mlx_optional_int given) {
  return !given.has_value || std::ranges::find(values, given.value) != values.end();
}

// What the 4 bits of E2M1 stand for.
constexpr std::array<float, 16> floats_of_4_bits{+0.0F, +0.5F, +1.0F, +1.5F, +2.0F, +3.0F, +4.0F, +6.0F,
                                                 -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};

// The greatest number of E4M3 times that of E2M1, by which a scale for a whole matrix is divided.
constexpr double greatest_of_both = 448.0 * 6.0;

ArrayHandle number(double value, mlx_dtype type) {
  return make_scalar(Scalar(value), type);
}

// The numbers in f32 that floats of 4 or 8 bits stand for, looked up among all such.
ArrayHandle looked_up(mlx_array floats, int bits, mlx_stream s) {
  ArrayHandle all;
  if (bits == 4) {
    const int size = floats_of_4_bits.size();
    all = ArrayHandle(mlx_array_new_data(floats_of_4_bits.data(), &size, 1, MLX_FLOAT32));
  } else {
    const ArrayHandle each = apply(mlx_arange, 0, 256, 1, MLX_UINT8, s);
    all = apply(mlx_from_fp8, each.get(), MLX_FLOAT32, s);
  }
  return apply(mlx_take_axis, all.get(), apply(mlx_astype, floats, MLX_INT32, s).get(), 0, s);
}

// The floats of so many bits that are packed in integers, along a new last axis.
ArrayHandle unpacked(mlx_array w, int bits, mlx_stream s) {
  const ArrayHandle words = apply(mlx_expand_dims, w, -1, s);
  const ArrayHandle places = apply(mlx_arange, 0, 32, bits, MLX_UINT32, s);
  const ArrayHandle moved = apply(right_shift, words.get(), places.get(), s);
  return apply(bitwise_and, moved.get(), number((1 << bits) - 1, MLX_UINT32).get(), s);
}

ArrayHandle scales_of_floats(mlx_array scales, bool nvfp4, mlx_array global_scale, mlx_stream s) {
  if (!nvfp4) {
    const ArrayHandle wide = apply(mlx_astype, scales, MLX_FLOAT32, s);
    const ArrayHandle exponents = apply(mlx_subtract, wide.get(), number(127, MLX_FLOAT32).get(), s);
    return apply(mlx_power, number(2, MLX_FLOAT32).get(), exponents.get(), s);
  }
  const ArrayHandle factors = looked_up(scales, 8, s);
  if (global_scale.ctx == nullptr) {
    return share(factors.get());
  }
  const ArrayHandle of_all = apply(mlx_divide, global_scale, number(greatest_of_both, MLX_FLOAT32).get(), s);
  return apply(mlx_multiply, factors.get(), of_all.get(), s);
}

// A matrix of floats, by operations that MLX can map.
ArrayHandle dequantized_floats(mlx_array w, mlx_array scales, std::string_view mode, mlx_array global_scale,
                               mlx_stream s) {
  const bool nvfp4 = mode == "nvfp4";
  const int bits = mode == "mxfp8" ? 8 : 4;
  const ArrayHandle numbers = looked_up(unpacked(w, bits, s).get(), bits, s);
  const ArrayHandle factors = scales_of_floats(scales, nvfp4, global_scale, s);
  const auto groups = shape_of(scales);
  std::vector<int> shape(groups.begin(), groups.end());
  shape.push_back(nvfp4 ? 16 : 32);
  const ArrayHandle grouped = apply(mlx_reshape, numbers.get(), shape.data(), shape.size(), s);
  const ArrayHandle scaled = apply(mlx_multiply, grouped.get(), apply(mlx_expand_dims, factors.get(), -1, s).get(), s);
  return apply(mlx_flatten, scaled.get(), -2, -1, s);
}

}  // namespace

void check_quantization(mlx_optional_int group_size, mlx_optional_int bits) {
  if (!is_one_of(bit_widths, bits)) {
    throw Error("the number of bits has to be 1, 2, 3, 4, 5, 6 or 8");
  }
  if (!is_one_of(group_sizes, group_size)) {
    throw Error("the group size has to be 16, 32, 64 or 128");
  }
}

void check_quantized(mlx_array w, mlx_array scales) {
  require_all({w, scales});
  const auto weights = shape_of(w);
  const auto scaled = shape_of(scales);
  if (weights.size() < 2) {
    throw ArgumentError("expected weights of at least 2 axes");
  }
  if (scaled.size() != weights.size() ||
      !std::ranges::equal(weights.first(weights.size() - 1), scaled.first(weights.size() - 1))) {
    throw ArgumentError("the weights and their scales differ in an axis other than the last");
  }
}

void check_factors(std::initializer_list<mlx_array> factors) {
  require_all(factors);
  for (const mlx_array factor : factors) {
    if (mlx_array_dtype(factor) == MLX_FLOAT64) {
      throw Error("quantization has no type f64");
    }
  }
}

int quantize(mlx_vector_array* result, mlx_array w, mlx_optional_int group_size, mlx_optional_int bits,
             const char* mode, mlx_array global_scale, mlx_stream s) {
  check_quantization(group_size, bits);
  check_factors({w});
  return mlx_quantize(result, w, group_size, bits, mode, global_scale, s);
}

int dequantize(mlx_array* result, mlx_array w, mlx_array scales, mlx_array biases, mlx_optional_int group_size,
               mlx_optional_int bits, const char* mode, mlx_array global_scale, mlx_optional_dtype dtype,
               mlx_stream s) {
  check_quantization(group_size, bits);
  check_quantized(w, scales);
  // It checks its arguments and knows its type, also where it is not what is computed.
  const ArrayHandle matrix = apply(mlx_dequantize, w, scales, biases, group_size, bits, mode, global_scale, dtype, s);
  if (!mapping() || biases.ctx != nullptr) {
    return mlx_array_set(result, matrix.get());
  }
  const ArrayHandle made = dequantized_floats(w, scales, mode, global_scale, s);
  return mlx_astype(result, made.get(), mlx_array_dtype(matrix.get()), s);
}

int from_fp8(mlx_array* result, mlx_array x, mlx_dtype dtype, mlx_stream s) {
  require_all({x});
  // It checks its arguments.
  const ArrayHandle numbers = apply(mlx_from_fp8, x, dtype, s);
  return mapping() ? mlx_astype(result, looked_up(x, 8, s).get(), dtype, s) : mlx_array_set(result, numbers.get());
}

int qqmm(mlx_array* result, mlx_array x, mlx_array w, mlx_array scales, mlx_optional_int group_size,
         mlx_optional_int bits, const char* mode, mlx_array global_scale_x, mlx_array global_scale_w, mlx_stream s) {
  check_factors({x, w});
  check_quantization(group_size, bits);
  if (scales.ctx != nullptr) {
    check_quantized(w, scales);
  }
  return mlx_qqmm(result, x, w, scales, group_size, bits, mode, global_scale_x, global_scale_w, s);
}

}  // namespace mlx_nif::guarded
