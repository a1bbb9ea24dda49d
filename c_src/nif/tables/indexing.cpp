// Operations that read and write parts of arrays.
#include "core/guards/argument_guards.hpp"
#include "core/guards/index_guards.hpp"
#include "core/guards/long_sums.hpp"
#include "core/guards/mapping_rules.hpp"
#include "core/guards/scatter_guards.hpp"
#include "core/guards/slice_guards.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> indexing_operations() {
  return {
      operation<"gather", &guarded::gather>(),
      operation<"gather_single", &guarded::gather_single>(),
      operation<"masked_scatter", &guarded::masked_scatter, fallible>(),
      operation<"put_along_axis", &guarded::put_along_axis>(),
      operation<"scatter", &guarded::scatter>(),
      operation<"scatter_add", in_pieces<&guarded::scatter_add>>(),
      operation<"scatter_add_axis", in_pieces<&guarded::scatter_add_axis>>(),
      operation<"scatter_add_single", in_pieces<&guarded::scatter_add_single>>(),
      operation<"scatter_max", &guarded::scatter_max>(),
      operation<"scatter_max_single", &guarded::scatter_max_single>(),
      operation<"scatter_min", &guarded::scatter_min>(),
      operation<"scatter_min_single", &guarded::scatter_min_single>(),
      operation<"scatter_prod", &guarded::scatter_prod>(),
      operation<"scatter_prod_single", &guarded::scatter_prod_single>(),
      operation<"scatter_single", &guarded::scatter_single>(),
      operation<"slice", &guarded::slice, view>(),
      operation<"slice_dynamic", mapped_natively_but_for<&guarded::slice_dynamic, 1>>(),
      operation<"slice_update", &guarded::slice_update>(),
      operation<"slice_update_add", &guarded::slice_update_add>(),
      operation<"slice_update_dynamic", mapped_natively_but_for<&guarded::slice_update_dynamic, 2>>(),
      operation<"slice_update_max", &guarded::slice_update_max>(),
      operation<"slice_update_min", &guarded::slice_update_min>(),
      operation<"slice_update_prod", &guarded::slice_update_prod>(),
      operation<"take", &guarded::take>(),
      operation<"take_along_axis", &guarded::take_along_axis>(),
      operation<"take_axis", &guarded::take_axis>(),
  };
}

}  // namespace mlx_nif
