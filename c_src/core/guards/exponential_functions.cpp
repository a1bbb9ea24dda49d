// Asks for a kernel of this library first.
#include "core/guards/exponential_functions.hpp"

#include "core/handles/arguments.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/kernels/vector_functions.hpp"

namespace mlx_nif::guarded {
namespace {

int apply_function(VectorFunction function, int (*others)(mlx_array*, mlx_array, mlx_stream), mlx_array* result,
                   mlx_array a, mlx_stream s) {
  require_all({a});
  if (const auto made = vector_function(function, array_of(a), stream_of(s))) {
    return set_result(result, *made);
  }
  return others(result, a, s);
}

}  // namespace

int exp(mlx_array* result, mlx_array a, mlx_stream s) {
  return apply_function(VectorFunction::exp, mlx_exp, result, a, s);
}

int sigmoid(mlx_array* result, mlx_array a, mlx_stream s) {
  return apply_function(VectorFunction::sigmoid, mlx_sigmoid, result, a, s);
}

}  // namespace mlx_nif::guarded
