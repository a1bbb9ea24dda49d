// Operations that rearrange elements.
#include "core/guards/argument_guards.hpp"
#include "core/guards/derivative_guards.hpp"
#include "core/guards/mapping_rules.hpp"
#include "core/guards/view_guards.hpp"
#include "core/handles/arguments.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {
namespace {

// More results take a millisecond.
constexpr int most_parts_inline = 1000;

void check_parts(mlx_array a, int axis) {
  if (a.ctx == nullptr) {
    return;
  }
  const auto normal = normal_axis(a, axis);
  if (normal && shape_of(a)[*normal] > most_parts_inline) {
    require_dirty_scheduler();
  }
}

int split(mlx_vector_array* result, mlx_array a, int count, int axis, mlx_stream s) {
  if (count > most_parts_inline) {
    require_dirty_scheduler();
  }
  return guarded::split(result, a, count, axis, s);
}

int unstack(mlx_vector_array* result, mlx_array a, mlx_stream s) {
  check_parts(a, 0);
  return mlx_unstack(result, a, s);
}

int unstack_axis(mlx_vector_array* result, mlx_array a, int axis, mlx_stream s) {
  check_parts(a, axis);
  return mlx_unstack_axis(result, a, axis, s);
}

}  // namespace

std::vector<ErlNifFunc> shape_operations() {
  return {
      operation<"as_strided", mapped_by_slices<&guarded::as_strided>, view>(),
      operation<"atleast_1d", &mlx_atleast_1d, view>(),
      operation<"atleast_2d", &mlx_atleast_2d, view>(),
      operation<"atleast_3d", &mlx_atleast_3d, view>(),
      operation<"broadcast_arrays", &mlx_broadcast_arrays, view>(),
      operation<"broadcast_to", &mlx_broadcast_to, view>(),
      operation<"concatenate", &mlx_concatenate>(),
      operation<"concatenate_axis", &mlx_concatenate_axis>(),
      operation<"contiguous", &mlx_contiguous>(),
      operation<"diagonal", &mlx_diagonal, view>(),
      operation<"expand_dims", &mlx_expand_dims, view>(),
      operation<"expand_dims_axes", &mlx_expand_dims_axes, view>(),
      operation<"flatten", &mlx_flatten>(),
      operation<"flip", &mlx_flip, view>(),
      operation<"flip_axes", &mlx_flip_axes, view>(),
      operation<"flip_axis", &mlx_flip_axis, view>(),
      operation<"moveaxis", &mlx_moveaxis, view>(),
      operation<"pad", &guarded::pad>(),
      operation<"pad_symmetric", &guarded::pad_symmetric>(),
      operation<"repeat", &mlx_repeat>(),
      operation<"repeat_axis", &mlx_repeat_axis>(),
      operation<"reshape", &mlx_reshape>(),
      operation<"roll", &mlx_roll>(),
      operation<"roll_axes", &mlx_roll_axes>(),
      operation<"roll_axis", &mlx_roll_axis>(),
      operation<"split", &split, view>(),
      operation<"split_sections", &mlx_split_sections, view>(),
      operation<"squeeze", &mlx_squeeze, view>(),
      operation<"squeeze_axes", &mlx_squeeze_axes, view>(),
      operation<"squeeze_axis", &mlx_squeeze_axis, view>(),
      operation<"stack", &mlx_stack>(),
      operation<"stack_axis", &mlx_stack_axis>(),
      operation<"swapaxes", &mlx_swapaxes, view>(),
      operation<"tile", &mlx_tile>(),
      operation<"transpose", &mlx_transpose, view>(),
      operation<"transpose_axes", &mlx_transpose_axes, view>(),
      operation<"unflatten", &mlx_unflatten>(),
      operation<"unstack", &unstack, view>(),
      operation<"unstack_axis", &unstack_axis, view>(),
  };
}

}  // namespace mlx_nif
