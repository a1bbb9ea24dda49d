// Fused operations of neural networks.
#include "core/guards/index_guards.hpp"
#include "core/guards/matrix_products.hpp"
#include "core/operations/attention.hpp"
#include "core/operations/cached_attention.hpp"
#include "core/operations/newer_operations.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> fast_operations() {
  return {
      operation<"fast_cached_attention", &cached_attention>(),
      operation<"fast_cross_entropy", &guarded::fast_cross_entropy>(),
      operation<"fast_gated_delta_update", &fast_gated_delta_update>(),
      operation<"fast_layer_norm", &mlx_fast_layer_norm>(),
      operation<"fast_packed_matmul", &guarded::packed_matmul>(),
      operation<"fast_rms_norm", &mlx_fast_rms_norm>(),
      operation<"fast_rope", &mlx_fast_rope>(),
      operation<"fast_rope_dynamic", &mlx_fast_rope_dynamic>(),
      operation<"fast_scaled_dot_product_attention", &scaled_dot_product_attention>(),
  };
}

}  // namespace mlx_nif
