// Random numbers.
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> random_operations() {
  return {
      operation<"random_bernoulli", &mlx_random_bernoulli, keyed>(),
      operation<"random_bits", &mlx_random_bits, keyed>(),
      operation<"random_categorical", &mlx_random_categorical, keyed>(),
      operation<"random_categorical_num_samples", &mlx_random_categorical_num_samples, keyed>(),
      operation<"random_categorical_shape", &mlx_random_categorical_shape, keyed>(),
      operation<"random_gumbel", &mlx_random_gumbel, keyed>(),
      operation<"random_key", &mlx_random_key>(),
      operation<"random_laplace", &mlx_random_laplace, keyed>(),
      operation<"random_multivariate_normal", &mlx_random_multivariate_normal, keyed>(),
      operation<"random_normal", &mlx_random_normal, keyed>(),
      operation<"random_normal_broadcast", &mlx_random_normal_broadcast, keyed>(),
      operation<"random_permutation", &mlx_random_permutation, keyed>(),
      operation<"random_permutation_arange", &mlx_random_permutation_arange, keyed>(),
      operation<"random_randint", &mlx_random_randint, keyed>(),
      operation<"random_split", &mlx_random_split>(),
      operation<"random_split_num", &mlx_random_split_num>(),
      operation<"random_truncated_normal", &mlx_random_truncated_normal, keyed>(),
      operation<"random_uniform", &mlx_random_uniform, keyed>(),
  };
}

}  // namespace mlx_nif
