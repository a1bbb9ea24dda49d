// Matrix products, convolutions and quantization.
#include "core/guards.hpp"
#include "nif/operation.hpp"
#include "nif/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> products_operations() {
  return {
      operation<"addmm", &mlx_addmm>(),
      operation<"block_masked_mm", &mlx_block_masked_mm>(),
      operation<"conv1d", &mlx_conv1d>(),
      operation<"conv2d", &mlx_conv2d>(),
      operation<"conv3d", &mlx_conv3d>(),
      operation<"conv_general", &mlx_conv_general>(),
      operation<"conv_transpose1d", &mlx_conv_transpose1d>(),
      operation<"conv_transpose2d", &mlx_conv_transpose2d>(),
      operation<"conv_transpose3d", &mlx_conv_transpose3d>(),
      operation<"dequantize", &mlx_dequantize>(),
      operation<"einsum", &mlx_einsum>(),
      operation<"gather_mm", &guarded::gather_mm>(),
      operation<"gather_qmm", &guarded::gather_qmm>(),
      operation<"gather_qqmm", &guarded::gather_qqmm>(),
      operation<"hadamard_transform", &mlx_hadamard_transform>(),
      operation<"inner", &mlx_inner>(),
      operation<"kron", &mlx_kron>(),
      operation<"matmul", &mlx_matmul>(),
      operation<"outer", &mlx_outer>(),
      operation<"qqmm", &mlx_qqmm>(),
      operation<"quantize", &mlx_quantize>(),
      operation<"quantized_matmul", &mlx_quantized_matmul>(),
      operation<"segmented_mm", &guarded::segmented_mm>(),
      operation<"tensordot", &mlx_tensordot>(),
      operation<"tensordot_axis", &mlx_tensordot_axis>(),
      operation<"vecdot", &mlx_vecdot>(),
  };
}

}  // namespace mlx_nif
