// Clamps the indices, widens the factors, and unpacks the weights where a product is mapped.
#include "core/guards/matrix_products.hpp"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>

#include "core/guards/clamping.hpp"
#include "core/guards/quantization_guards.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/empty_arrays.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/scalar.hpp"
#include "core/kernels/packed_product.hpp"
#include "core/kernels/skinny_products.hpp"
#include "core/operations/newer_operations.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif::guarded {
namespace {

namespace mx = mlx::core;

void require_matrices(std::initializer_list<mlx_array> arrays) {
  require_all(arrays);
  for (const mlx_array array : arrays) {
    if (mlx_array_ndim(array) < 2) {
      throw ArgumentError("expected matrices, arrays of at least 2 axes");
    }
  }
}

// The number of matrices in an array of them.
std::int64_t batch_size(mlx_array a) {
  const auto shape = shape_of(a);
  std::int64_t size = 1;
  for (std::size_t axis = 0; axis + 2 < shape.size(); ++axis) {
    size *= shape[axis];
  }
  return size;
}

// Indices of matrices; null where MLX takes all in turn.
ArrayHandle clamp_batch_index(mlx_array indices, mlx_array matrices, mlx_stream s) {
  const std::int64_t size = batch_size(matrices);
  if (size == 0 && indices.ctx != nullptr && !has_no_elements(indices)) {
    throw ArgumentError("there are indices, and no matrices");
  }
  return clamp_from_front(indices, size, s);
}

// The matrices that clamped indices pick, or all where there are none.
ArrayHandle picked(mlx_array matrices, mlx_array indices, mlx_stream s) {
  if (indices.ctx == nullptr) {
    return share(matrices);
  }
  const auto shape = shape_of(matrices);
  const std::array<int, 3> listed{static_cast<int>(batch_size(matrices)), shape[shape.size() - 2], shape.back()};
  const ArrayHandle list = apply(mlx_reshape, matrices, listed.data(), listed.size(), s);
  return apply(mlx_take_axis, list.get(), apply(mlx_astype, indices, MLX_INT32, s).get(), 0, s);
}

struct QuantizedMatrices {
  mlx_array weights;
  mlx_array scales;
  mlx_array biases;
  bool transpose;
  mlx_optional_int group_size;
  mlx_optional_int bits;
  const char* mode;
};

// In f32. Only affine scales are of a type that fractions have.
ArrayHandle unpacked(const QuantizedMatrices& of, mlx_stream s) {
  const bool affine = of.biases.ctx != nullptr;
  const ArrayHandle scales = affine ? apply(mlx_astype, of.scales, MLX_FLOAT32, s) : share(of.scales);
  const ArrayHandle biases = affine ? apply(mlx_astype, of.biases, MLX_FLOAT32, s) : ArrayHandle();
  const ArrayHandle matrices =
      apply(dequantize, of.weights, scales.get(), biases.get(), of.group_size, of.bits, of.mode, mlx_array{},
            mlx_optional_dtype{.value = MLX_FLOAT32, .has_value = true}, s);
  return of.transpose ? apply(mlx_swapaxes, matrices.get(), -1, -2, s) : share(matrices.get());
}

// The type of a product, to which MLX promotes the factor and affine scales.
mx::Dtype type_of_product(mlx_array x, const QuantizedMatrices& of) {
  return of.biases.ctx == nullptr ? array_of(x).dtype()
                                  : mx::result_type(array_of(x), array_of(of.scales), array_of(of.biases));
}

// `multiply(result, x)`, in f32 where MLX would add up in 16 bits.
template <typename Multiply>
int added_in_f32(mlx_array* result, mlx_array x, const QuantizedMatrices& matrices, mlx_stream s,
                 const Multiply& multiply) {
  const mx::Stream& stream = stream_of(s);
  if (!on_cpu(stream) || !has_16_bits(type_of_product(x, matrices))) {
    return multiply(result, x);
  }
  const ArrayHandle wide = apply(multiply, apply(mlx_astype, x, MLX_FLOAT32, s).get());
  return set_result(result, mx::astype(array_of(wide.get()), type_of_product(x, matrices), stream));
}

// The same by operations that MLX can map. `multiply` checks its arguments and knows the type.
template <typename Multiply>
int mapped(mlx_array* result, mlx_array x, const QuantizedMatrices& matrices, mlx_array lhs, mlx_array rhs,
           mlx_stream s, const Multiply& multiply) {
  const ArrayHandle checked = apply(multiply, x);
  const ArrayHandle wide = apply(mlx_astype, x, MLX_FLOAT32, s);
  const ArrayHandle factors = unpacked(matrices, s);
  const ArrayHandle made = apply(mlx_matmul, picked(wide.get(), lhs, s).get(), picked(factors.get(), rhs, s).get(), s);
  return mlx_astype(result, made.get(), mlx_array_dtype(checked.get()), s);
}

// Nothing where it is MLX's.
std::optional<PackedMatrix> packed_matrix(const QuantizedMatrices& matrices) {
  constexpr int default_bits = 4;
  constexpr int default_group_size = 64;
  if (matrices.biases.ctx == nullptr || !matrices.transpose) {
    return std::nullopt;
  }
  return PackedMatrix{.words = array_of(matrices.weights),
                      .scales = array_of(matrices.scales),
                      .biases = array_of(matrices.biases),
                      .group_size = matrices.group_size.has_value ? matrices.group_size.value : default_group_size,
                      .bits = matrices.bits.has_value ? matrices.bits.value : default_bits};
}

void check_factors_of(mlx_array x, const QuantizedMatrices& matrices) {
  check_quantization(matrices.group_size, matrices.bits);
  check_quantized(matrices.weights, matrices.scales);
  check_factors({x, matrices.scales});
}

}  // namespace

int addmm(mlx_array* result, mlx_array c, mlx_array a, mlx_array b, float alpha, float beta, mlx_stream s) {
  require_all({a, b, c});
  if (!mapping()) {
    return mlx_addmm(result, c, a, b, alpha, beta, s);
  }
  // It checks its arguments and knows the type.
  const mlx_dtype type = mlx_array_dtype(apply(mlx_addmm, c, a, b, alpha, beta, s).get());
  const auto times = [&](mlx_array array, float factor) {
    return apply(mlx_multiply, array, make_scalar(Scalar(static_cast<double>(factor)), type).get(), s);
  };
  const ArrayHandle product = apply(mlx_matmul, a, b, s);
  return mlx_add(result, times(product.get(), alpha).get(), times(c, beta).get(), s);
}

int matmul(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  if (const auto made = skinny_product(array_of(a), array_of(b), stream_of(s))) {
    return set_result(result, *made);
  }
  return mlx_matmul(result, a, b, s);
}

int add(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  if (const auto made = sum_with_skinny_product(array_of(a), array_of(b), stream_of(s))) {
    return set_result(result, *made);
  }
  return mlx_add(result, a, b, s);
}

int gather_mm(mlx_array* result, mlx_array a, mlx_array b, mlx_array lhs_indices, mlx_array rhs_indices,
              bool sorted_indices, mlx_stream s) {
  require_matrices({a, b});
  const ArrayHandle lhs = clamp_batch_index(lhs_indices, a, s);
  const ArrayHandle rhs = clamp_batch_index(rhs_indices, b, s);
  if (!mapping()) {
    return mlx_gather_mm(result, a, b, lhs.get(), rhs.get(), sorted_indices, s);
  }
  // It checks its arguments.
  const ArrayHandle checked = apply(mlx_gather_mm, a, b, lhs.get(), rhs.get(), sorted_indices, s);
  return mlx_matmul(result, picked(a, lhs.get(), s).get(), picked(b, rhs.get(), s).get(), s);
}

int quantized_matmul(mlx_array* result, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, bool transpose,
                     mlx_optional_int group_size, mlx_optional_int bits, const char* mode, mlx_stream s) {
  const QuantizedMatrices matrices{w, scales, biases, transpose, group_size, bits, mode};
  check_factors_of(x, matrices);
  const auto packed = packed_matrix(matrices);
  if (const auto made = packed ? skinny_product(array_of(x), *packed, stream_of(s)) : std::nullopt) {
    return set_result(result, *made);
  }
  const auto multiply = [&](mlx_array* made, mlx_array factor) {
    return mlx_quantized_matmul(made, factor, w, scales, biases, transpose, group_size, bits, mode, s);
  };
  return mapping() ? mapped(result, x, matrices, mlx_array{}, mlx_array{}, s, multiply)
                   : added_in_f32(result, x, matrices, s, multiply);
}

int packed_matmul(mlx_array* result, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, int group_size,
                  int bits, mlx_stream s) {
  const QuantizedMatrices matrices{.weights = w,
                                   .scales = scales,
                                   .biases = biases,
                                   .transpose = true,
                                   .group_size = {.value = group_size, .has_value = true},
                                   .bits = {.value = bits, .has_value = true},
                                   .mode = "affine"};
  check_factors_of(x, matrices);
  const auto packed = packed_matrix(matrices);
  if (const auto made = packed ? packed_product(array_of(x), *packed, stream_of(s)) : std::nullopt) {
    return set_result(result, *made);
  }
  return quantized_matmul(result, x, w, scales, biases, true, matrices.group_size, matrices.bits, matrices.mode, s);
}

int gather_qmm(mlx_array* result, mlx_array x, mlx_array w, mlx_array scales, mlx_array biases, mlx_array lhs_indices,
               mlx_array rhs_indices, bool transpose, mlx_optional_int group_size, mlx_optional_int bits,
               const char* mode, mlx_array global_scale, bool sorted_indices, mlx_stream s) {
  const QuantizedMatrices matrices{w, scales, biases, transpose, group_size, bits, mode};
  check_factors_of(x, matrices);
  require_matrices({x, w});
  const ArrayHandle lhs = clamp_batch_index(lhs_indices, x, s);
  const ArrayHandle rhs = clamp_batch_index(rhs_indices, w, s);
  const auto multiply = [&](mlx_array* made, mlx_array factor) {
    return gather_qmm_scaled(made, factor, w, scales, biases, lhs.get(), rhs.get(), transpose, group_size, bits, mode,
                             global_scale, sorted_indices, s);
  };
  if (!mapping()) {
    return added_in_f32(result, x, matrices, s, multiply);
  }
  if (global_scale.ctx != nullptr) {
    throw Error("matrices with a global scale cannot be mapped over axes");
  }
  return mapped(result, x, matrices, lhs.get(), rhs.get(), s, multiply);
}

int gather_qqmm(mlx_array* result, mlx_array x, mlx_array w, mlx_array scales_w, mlx_array lhs_indices,
                mlx_array rhs_indices, mlx_optional_int group_size, mlx_optional_int bits, const char* mode,
                mlx_array global_scale_x, mlx_array global_scale_w, bool sorted_indices, mlx_stream s) {
  check_quantization(group_size, bits);
  require_matrices({x, w});
  if (mlx_array_dtype(w) == MLX_UINT32) {
    check_quantized(w, scales_w);
  }
  const ArrayHandle lhs = clamp_batch_index(lhs_indices, x, s);
  const ArrayHandle rhs = clamp_batch_index(rhs_indices, w, s);
  return mlx_gather_qqmm(result, x, w, scales_w, lhs.get(), rhs.get(), group_size, bits, mode, global_scale_x,
                         global_scale_w, sorted_indices, s);
}

}  // namespace mlx_nif::guarded
