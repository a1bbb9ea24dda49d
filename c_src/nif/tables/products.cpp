// Matrix products, convolutions and quantization.
#include "core/guards/convolution_guards.hpp"
#include "core/guards/index_guards.hpp"
#include "core/guards/mapping_rules.hpp"
#include "core/guards/matrix_products.hpp"
#include "core/guards/quantization_guards.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> products_operations() {
  return {
      operation<"addmm", &guarded::addmm>(),
      operation<"block_masked_mm", mapped_by_slices<&mlx_block_masked_mm>>(),
      operation<"conv1d", &guarded::conv1d>(),
      operation<"conv2d", &guarded::conv2d>(),
      operation<"conv3d", &guarded::conv3d>(),
      operation<"conv_general", &guarded::conv_general>(),
      operation<"conv_transpose1d", &guarded::conv_transpose1d>(),
      operation<"conv_transpose2d", &guarded::conv_transpose2d>(),
      operation<"conv_transpose3d", &guarded::conv_transpose3d>(),
      operation<"dequantize", &guarded::dequantize>(),
      operation<"einsum", &mlx_einsum>(),
      operation<"gather_mm", &guarded::gather_mm>(),
      operation<"gather_qmm", &guarded::gather_qmm>(),
      operation<"gather_qqmm", mapped_by_slices<&guarded::gather_qqmm>>(),
      operation<"hadamard_transform", &mlx_hadamard_transform>(),
      operation<"inner", &mlx_inner>(),
      operation<"kron", &mlx_kron>(),
      operation<"matmul", &guarded::matmul>(),
      operation<"outer", &mlx_outer>(),
      operation<"qqmm", mapped_by_slices<&guarded::qqmm>>(),
      operation<"quantize", mapped_in_front<&guarded::quantize>>(),
      operation<"quantized_matmul", &guarded::quantized_matmul>(),
      operation<"segmented_mm", mapped_by_slices<&guarded::segmented_mm>>(),
      operation<"tensordot", &mlx_tensordot>(),
      operation<"tensordot_axis", &mlx_tensordot_axis>(),
      operation<"vecdot", &mlx_vecdot>(),
  };
}

}  // namespace mlx_nif
