// Puts the real part in the place of a complex number wherever a graph casts one on CUDA.
#include "core/kernels/fused_casts.hpp"

#include <mlx/primitives.h>

#include <string_view>

#include "core/handles/nodes.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

bool casts_complex_to_real(const mx::array& node) {
  return std::string_view(node.primitive().name()) == "AsType" && node.primitive().stream().device == mx::Device::gpu &&
         node.inputs().front().dtype() == mx::complex64 && node.dtype() != mx::complex64;
}

mx::array real_part(const mx::array& complex, mx::Dtype type, mx::Stream s) {
  return type == mx::bool_ ? mx::not_equal(complex, mx::zeros_like(complex, s), s) : mx::real(complex, s);
}

}  // namespace

void cast_real_parts(const std::vector<mx::array>& results) {
  if (!has_cuda()) {
    return;
  }
  for_each_node(results, {}, [](mx::array& node) {
    if (casts_complex_to_real(node)) {
      mx::array& input = node.inputs().front();
      input = real_part(input, node.dtype(), node.primitive().stream());
    }
  });
}

}  // namespace mlx_nif
