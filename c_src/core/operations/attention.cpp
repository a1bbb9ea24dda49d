// Looks at what MLX makes attention of on a CPU: a product, a softmax of it, and the product of that and the values.
#include "core/operations/attention.hpp"

#include <mlx/ops.h>
#include <mlx/primitives.h>

#include <optional>

#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"
#include "core/kernels/vector_functions.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// Several heads of queries for one of keys have an axis of their own meanwhile.
std::optional<mx::array> with_vector_softmax(const mx::array& attention, mx::Stream stream) {
  const bool flattened = is_operation(attention, "Flatten");
  const mx::array& product = flattened ? attention.inputs()[0] : attention;
  if (!is_operation(product, "Matmul") || !is_operation(product.inputs()[0], "Softmax")) {
    return std::nullopt;
  }
  const auto shares = vector_softmax(product.inputs()[0].inputs()[0], stream);
  if (!shares) {
    return std::nullopt;
  }
  const mx::array made = mx::matmul(*shares, product.inputs()[1], stream);
  return flattened ? mx::flatten(made, 1, 2, stream) : made;
}

}  // namespace

int scaled_dot_product_attention(mlx_array* result, mlx_array queries, mlx_array keys, mlx_array values, float scale,
                                 const char* mask_mode, mlx_array mask, mlx_array sinks, bool force_fused,
                                 mlx_stream s) {
  const ArrayHandle attention = apply(mlx_fast_scaled_dot_product_attention, queries, keys, values, scale, mask_mode,
                                      mask, sinks, force_fused, s);
  const auto made = with_vector_softmax(array_of(attention.get()), stream_of(s));
  return made ? set_result(result, *made) : mlx_array_set(result, attention.get());
}

}  // namespace mlx_nif
