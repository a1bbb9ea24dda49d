// Native functions whose Elixir function has a name that does not follow from theirs.
#pragma once

#include <array>
#include <string_view>
#include <utility>

namespace mlx_nif {

inline constexpr auto public_names = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"allclose", "Mlx.all_close"},
    {"arccos", "Mlx.acos"},
    {"arccosh", "Mlx.acosh"},
    {"arcsin", "Mlx.asin"},
    {"arcsinh", "Mlx.asinh"},
    {"arctan", "Mlx.atan"},
    {"arctan2", "Mlx.atan2"},
    {"arctanh", "Mlx.atanh"},
    {"astype", "Mlx.as_type"},
    {"bitwise_invert", "Mlx.bitwise_not"},
    {"broadcast_to", "Mlx.broadcast"},
    {"cummax", "Mlx.cumulative_max"},
    {"cummin", "Mlx.cumulative_min"},
    {"cumprod", "Mlx.cumulative_product"},
    {"cumsum", "Mlx.cumulative_sum"},
    {"erfinv", "Mlx.erf_inv"},
    {"expand_dims", "Mlx.new_axis"},
    {"fast_rope_dynamic", "Mlx.Fast.rope"},
    {"flip", "Mlx.reverse"},
    {"isclose", "Mlx.is_close"},
    {"isfinite", "Mlx.is_finite"},
    {"isinf", "Mlx.is_infinity"},
    {"isnan", "Mlx.is_nan"},
    {"isneginf", "Mlx.is_negative_infinity"},
    {"isposinf", "Mlx.is_positive_infinity"},
    {"item", "Mlx.to_number"},
    {"linalg_det", "Mlx.Linalg.determinant"},
    {"linalg_inv", "Mlx.Linalg.invert"},
    {"linalg_norm_l2", "Mlx.Linalg.norm"},
    {"linalg_norm_matrix", "Mlx.Linalg.norm"},
    {"linalg_solve_triangular", "Mlx.Linalg.triangular_solve"},
    {"linspace_endpoint", "Mlx.linspace"},
    {"logcumsumexp", "Mlx.cumulative_logsumexp"},
    {"max", "Mlx.reduce_max"},
    {"maximum", "Mlx.max"},
    {"min", "Mlx.reduce_min"},
    {"minimum", "Mlx.min"},
    {"moveaxis", "Mlx.move_axis"},
    {"negative", "Mlx.negate"},
    {"power", "Mlx.pow"},
    {"prod", "Mlx.product"},
    {"random_categorical_num_samples", "Mlx.Random.categorical"},
    {"random_categorical_shape", "Mlx.Random.categorical"},
    {"random_normal_broadcast", "Mlx.Random.normal"},
    {"random_permutation_arange", "Mlx.Random.permutation"},
    {"random_split_num", "Mlx.Random.split"},
    {"std", "Mlx.standard_deviation"},
    {"swapaxes", "Mlx.swap_axes"},
    {"topk", "Mlx.top_k"},
    {"var", "Mlx.variance"},
    {"view", "Mlx.bitcast"},
    {"where", "Mlx.select"},
});

}  // namespace mlx_nif
