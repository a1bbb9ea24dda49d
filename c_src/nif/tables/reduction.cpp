// Reductions, scans and sorting.
#include "core/guards/argument_guards.hpp"
#include "core/guards/derivative_guards.hpp"
#include "core/guards/long_sums.hpp"
#include "core/guards/mapping_guards.hpp"
#include "core/guards/mapping_rules.hpp"
#include "core/guards/nan_guards.hpp"
#include "core/operations/newer_operations.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> reduction_operations() {
  return {
      operation<"all", &mlx_all>(),
      operation<"all_axes", &mlx_all_axes>(),
      operation<"all_axis", &mlx_all_axis>(),
      operation<"allclose", &mlx_allclose, weak>(),
      operation<"any", &mlx_any>(),
      operation<"any_axes", &mlx_any_axes>(),
      operation<"any_axis", &mlx_any_axis>(),
      operation<"argmax", &guarded::argmax>(),
      operation<"argmax_axis", &mlx_argmax_axis>(),
      operation<"argmin", &guarded::argmin>(),
      operation<"argmin_axis", &mlx_argmin_axis>(),
      operation<"argpartition", &mlx_argpartition>(),
      operation<"argpartition_axis", &mlx_argpartition_axis>(),
      operation<"argsort", &mlx_argsort>(),
      operation<"argsort_axis", &mlx_argsort_axis>(),
      operation<"array_equal", &guarded::array_equal>(),
      operation<"count_nonzero", &mlx_count_nonzero>(),
      operation<"count_nonzero_axes", &mlx_count_nonzero_axes>(),
      operation<"count_nonzero_axis", &mlx_count_nonzero_axis>(),
      operation<"cummax", &guarded::cummax>(),
      operation<"cummax_axis", &guarded::cummax_axis>(),
      operation<"cummin", &guarded::cummin>(),
      operation<"cummin_axis", &guarded::cummin_axis>(),
      operation<"cumprod", &mlx_cumprod>(),
      operation<"cumprod_axis", &mlx_cumprod_axis>(),
      operation<"cumsum", &guarded::cumsum>(),
      operation<"cumsum_axis", &guarded::cumsum_axis>(),
      operation<"diff", &guarded::diff>(),
      operation<"logcumsumexp", &mlx_logcumsumexp>(),
      operation<"logcumsumexp_axis", &mlx_logcumsumexp_axis>(),
      operation<"logsumexp", &guarded::logsumexp>(),
      operation<"logsumexp_axes", &guarded::logsumexp_axes>(),
      operation<"logsumexp_axis", &guarded::logsumexp_axis>(),
      operation<"max", &mlx_max>(),
      operation<"max_axes", &mlx_max_axes>(),
      operation<"max_axis", &mlx_max_axis>(),
      operation<"mean", of_wide<&mlx_mean, Integers::s64>>(),
      operation<"mean_axes", of_wide<&mlx_mean_axes, Integers::s64>>(),
      operation<"mean_axis", of_wide<&mlx_mean_axis, Integers::s64>>(),
      operation<"median", &mlx_median>(),
      operation<"median_axes", &mlx_median_axes>(),
      operation<"median_axis", &mlx_median_axis>(),
      operation<"min", &guarded::min>(),
      operation<"min_axes", &guarded::min_axes>(),
      operation<"min_axis", &guarded::min_axis>(),
      operation<"partition", &mlx_partition>(),
      operation<"partition_axis", &mlx_partition_axis>(),
      operation<"prod", &mlx_prod>(),
      operation<"prod_axes", &mlx_prod_axes>(),
      operation<"prod_axis", &mlx_prod_axis>(),
      operation<"searchsorted", mapped_in_front<&mlx_searchsorted, 1>>(),
      operation<"softmax", &guarded::softmax>(),
      operation<"softmax_axes", &guarded::softmax_axes>(),
      operation<"softmax_axis", &guarded::softmax_axis>(),
      operation<"sort", &mlx_sort>(),
      operation<"sort_axis", &mlx_sort_axis>(),
      operation<"std", of_wide<&mlx_std>>(),
      operation<"std_axes", of_wide<&mlx_std_axes>>(),
      operation<"std_axis", of_wide<&mlx_std_axis>>(),
      operation<"sum", in_pieces<&mlx_sum>>(),
      operation<"sum_axes", in_pieces<&mlx_sum_axes>>(),
      operation<"sum_axis", in_pieces<&mlx_sum_axis>>(),
      operation<"topk", &mlx_topk>(),
      operation<"topk_axis", &mlx_topk_axis>(),
      operation<"trace", &guarded::trace>(),
      operation<"trace_axes", &guarded::trace_axes>(),
      operation<"unique", &unique>(),
      operation<"var", of_wide<&mlx_var>>(),
      operation<"var_axes", of_wide<&mlx_var_axes>>(),
      operation<"var_axis", of_wide<&mlx_var_axis>>(),
  };
}

}  // namespace mlx_nif
