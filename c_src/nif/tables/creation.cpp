// Operations that make arrays from nothing but numbers.
#include "core/guards/derivative_guards.hpp"
#include "core/guards/diagonals.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> creation_operations() {
  return {
      operation<"arange", &mlx_arange>(),
      operation<"bartlett", &mlx_bartlett>(),
      operation<"blackman", &mlx_blackman>(),
      operation<"diag", &guarded::diag>(),
      operation<"eye", &guarded::eye>(),
      operation<"full", &guarded::full>(),
      operation<"full_like", &guarded::full_like>(),
      operation<"hamming", &mlx_hamming>(),
      operation<"hanning", &mlx_hanning>(),
      operation<"identity", &guarded::identity>(),
      operation<"linspace", &mlx_linspace>(),
      operation<"linspace_endpoint", &mlx_linspace_endpoint>(),
      operation<"meshgrid", &mlx_meshgrid>(),
      operation<"ones", &mlx_ones>(),
      operation<"ones_like", &mlx_ones_like>(),
      operation<"ones_like_dtype", &mlx_ones_like_dtype>(),
      operation<"tri", &mlx_tri>(),
      operation<"tril", &mlx_tril>(),
      operation<"triu", &mlx_triu>(),
      operation<"zeros", &mlx_zeros>(),
      operation<"zeros_like", &mlx_zeros_like>(),
      operation<"zeros_like_dtype", &mlx_zeros_like_dtype>(),
  };
}

}  // namespace mlx_nif
