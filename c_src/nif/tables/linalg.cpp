// Linear algebra.
#include "core/guards/argument_guards.hpp"
#include "core/guards/long_sums.hpp"
#include "core/guards/mapping_guards.hpp"
#include "core/guards/mapping_rules.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> linalg_operations() {
  return {
      operation<"linalg_cholesky", &mlx_linalg_cholesky, fallible>(),
      operation<"linalg_cholesky_inv", &guarded::linalg_cholesky_inv, fallible>(),
      operation<"linalg_cross", &mlx_linalg_cross>(),
      operation<"linalg_det", mapped_in_front<&mlx_linalg_det>, fallible>(),
      operation<"linalg_eig", &guarded::linalg_eig, fallible>(),
      operation<"linalg_eigh", &mlx_linalg_eigh, fallible>(),
      operation<"linalg_eigvals", &guarded::linalg_eigvals, fallible>(),
      operation<"linalg_eigvalsh", &mlx_linalg_eigvalsh, fallible>(),
      operation<"linalg_inv", &mlx_linalg_inv, fallible>(),
      operation<"linalg_lu", mapped_in_front<&guarded::linalg_lu>, fallible>(),
      operation<"linalg_lu_factor", mapped_in_front<&guarded::linalg_lu_factor>, fallible>(),
      operation<"linalg_norm", of_wide<&mlx_linalg_norm>>(),
      operation<"linalg_norm_l2", of_wide<&mlx_linalg_norm_l2>>(),
      operation<"linalg_norm_matrix", of_wide<&mlx_linalg_norm_matrix>, fallible>(),
      operation<"linalg_pinv", &mlx_linalg_pinv, fallible>(),
      operation<"linalg_qr", mapped_in_front<&mlx_linalg_qr>, fallible>(),
      operation<"linalg_slogdet", mapped_in_front<&mlx_linalg_slogdet>, fallible>(),
      operation<"linalg_solve", mapped_by_slices<&mlx_linalg_solve>, fallible>(),
      operation<"linalg_solve_triangular", &guarded::linalg_solve_triangular, fallible>(),
      operation<"linalg_svd", &mlx_linalg_svd, fallible>(),
      operation<"linalg_tri_inv", &guarded::linalg_tri_inv, fallible>(),
  };
}

}  // namespace mlx_nif
