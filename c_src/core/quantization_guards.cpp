#include <algorithm>
#include <array>

#include "core/argument_guards.hpp"
#include "core/arguments.hpp"
#include "core/error.hpp"
#include "core/expression.hpp"
#include "core/running.hpp"

namespace mlx_nif::guarded {
namespace {

constexpr std::array bit_widths{1, 2, 3, 4, 5, 6, 8};
constexpr std::array group_sizes{16, 32, 64, 128};

template <typename Values>
bool is_one_of(const Values& values, mlx_optional_int given) {
  return !given.has_value || std::ranges::find(values, given.value) != values.end();
}

ArrayHandle same(mlx_array a) {
  return apply(mlx_array_set, a);
}

// A quantized matrix in f32, in which MLX's product computes. Only affine scales are of a type that fractions have.
ArrayHandle unpacked(mlx_array w, mlx_array scales, mlx_array biases, mlx_optional_int group_size,
                     mlx_optional_int bits, const char* mode, mlx_stream s) {
  const bool affine = biases.ctx != nullptr;
  const ArrayHandle factor = affine ? apply(mlx_astype, scales, MLX_FLOAT32, s) : same(scales);
  const ArrayHandle offset = affine ? apply(mlx_astype, biases, MLX_FLOAT32, s) : ArrayHandle();
  return apply(mlx_dequantize, w, factor.get(), offset.get(), group_size, bits, mode, mlx_array{},
               mlx_optional_dtype{.value = MLX_FLOAT32, .has_value = true}, s);
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
  return mlx_dequantize(result, w, scales, biases, group_size, bits, mode, global_scale, dtype, s);
}

int quantized_matmul(mlx_array* result, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, bool transpose,
                     mlx_optional_int group_size, mlx_optional_int bits, const char* mode, mlx_stream s) {
  check_quantization(group_size, bits);
  check_quantized(w, scales);
  check_factors({x, scales});
  // It checks its arguments and knows its type, also where it is not what is computed.
  const ArrayHandle product = apply(mlx_quantized_matmul, x, w, scales, biases, transpose, group_size, bits, mode, s);
  if (!mapping()) {
    return mlx_array_set(result, product.get());
  }
  const ArrayHandle matrix = unpacked(w, scales, biases, group_size, bits, mode, s);
  const ArrayHandle factor = transpose ? apply(mlx_swapaxes, matrix.get(), -1, -2, s) : same(matrix.get());
  const ArrayHandle wide = apply(mlx_astype, x, MLX_FLOAT32, s);
  const ArrayHandle made = apply(mlx_matmul, wide.get(), factor.get(), s);
  return mlx_astype(result, made.get(), mlx_array_dtype(product.get()), s);
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
