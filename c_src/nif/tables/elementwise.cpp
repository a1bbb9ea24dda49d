// Operations on each element.
#include "core/guards/argument_guards.hpp"
#include "core/guards/derivative_guards.hpp"
#include "core/guards/division_guards.hpp"
#include "core/guards/exponential_functions.hpp"
#include "core/guards/mapping_guards.hpp"
#include "core/guards/mapping_rules.hpp"
#include "core/guards/matrix_products.hpp"
#include "core/guards/quantization_guards.hpp"
#include "nif/functions/operation.hpp"
#include "nif/tables/tables.hpp"

namespace mlx_nif {

std::vector<ErlNifFunc> elementwise_operations() {
  return {
      operation<"abs", &mlx_abs>(),
      operation<"add", &guarded::add, weak>(),
      operation<"arccos", &mlx_arccos>(),
      operation<"arccosh", &mlx_arccosh>(),
      operation<"arcsin", &mlx_arcsin>(),
      operation<"arcsinh", &mlx_arcsinh>(),
      operation<"arctan", &mlx_arctan>(),
      operation<"arctan2", &guarded::arctan2, weak>(),
      operation<"arctanh", &mlx_arctanh>(),
      operation<"astype", &mlx_astype>(),
      operation<"bitwise_and", &guarded::bitwise_and, weak>(),
      operation<"bitwise_invert", &mlx_bitwise_invert>(),
      operation<"bitwise_or", &guarded::bitwise_or, weak>(),
      operation<"bitwise_xor", &guarded::bitwise_xor, weak>(),
      operation<"ceil", &mlx_ceil>(),
      operation<"clip", &mlx_clip, weak>(),
      operation<"conjugate", &mlx_conjugate>(),
      operation<"copy", &mlx_copy, view>(),
      operation<"cos", &mlx_cos>(),
      operation<"cosh", &mlx_cosh>(),
      operation<"degrees", &mlx_degrees>(),
      operation<"depends", &guarded::depends, view>(),
      operation<"divide", &mlx_divide, weak>(),
      operation<"divmod", &guarded::divmod, weak>(),
      operation<"equal", &mlx_equal, weak>(),
      operation<"erf", &mlx_erf>(),
      operation<"erfinv", &mlx_erfinv>(),
      operation<"exp", &guarded::exp>(),
      operation<"expm1", &mlx_expm1>(),
      operation<"floor", &mlx_floor>(),
      operation<"floor_divide", &guarded::floor_divide, weak>(),
      operation<"from_fp8", &guarded::from_fp8>(),
      operation<"greater", &mlx_greater, weak>(),
      operation<"greater_equal", &mlx_greater_equal, weak>(),
      operation<"imag", &mlx_imag>(),
      operation<"isclose", &mlx_isclose, weak>(),
      operation<"isfinite", &mlx_isfinite>(),
      operation<"isinf", &mlx_isinf>(),
      operation<"isnan", &mlx_isnan>(),
      operation<"isneginf", &mlx_isneginf>(),
      operation<"isposinf", &mlx_isposinf>(),
      operation<"left_shift", &guarded::left_shift, weak>(),
      operation<"less", &mlx_less, weak>(),
      operation<"less_equal", &mlx_less_equal, weak>(),
      operation<"log", &mlx_log>(),
      operation<"log10", &mlx_log10>(),
      operation<"log1p", &mlx_log1p>(),
      operation<"log2", &mlx_log2>(),
      operation<"logaddexp", &mlx_logaddexp, weak>(),
      operation<"logical_and", &mlx_logical_and>(),
      operation<"logical_not", &mlx_logical_not>(),
      operation<"logical_or", &mlx_logical_or>(),
      operation<"logical_xor", &guarded::logical_xor>(),
      operation<"maximum", &mlx_maximum, weak>(),
      operation<"minimum", &mlx_minimum, weak>(),
      operation<"multiply", &mlx_multiply, weak>(),
      operation<"nan_to_num", &mlx_nan_to_num>(),
      operation<"negative", &mlx_negative>(),
      operation<"not_equal", &guarded::not_equal, weak>(),
      operation<"number_of_elements", &guarded::number_of_elements>(),
      operation<"positive", &mlx_positive>(),
      operation<"power", &mlx_power, weak>(),
      operation<"radians", &mlx_radians>(),
      operation<"real", &mlx_real>(),
      operation<"reciprocal", &mlx_reciprocal>(),
      operation<"remainder", &guarded::remainder, weak>(),
      operation<"right_shift", &guarded::right_shift, weak>(),
      operation<"round", &mlx_round>(),
      operation<"rsqrt", &mlx_rsqrt>(),
      operation<"sigmoid", &guarded::sigmoid>(),
      operation<"sign", &mlx_sign>(),
      operation<"sin", &mlx_sin>(),
      operation<"sinh", &mlx_sinh>(),
      operation<"sqrt", &mlx_sqrt>(),
      operation<"square", &mlx_square>(),
      operation<"stop_gradient", &mlx_stop_gradient, view>(),
      operation<"subtract", &mlx_subtract, weak>(),
      operation<"tan", &mlx_tan>(),
      operation<"tanh", &mlx_tanh>(),
      operation<"to_fp8", mapped_in_front<&mlx_to_fp8>>(),
      operation<"trunc", &mlx_trunc>(),
      operation<"view", &mlx_view>(),
      operation<"where", &guarded::where, Traits{.weak_from = 1}>(),
  };
}

}  // namespace mlx_nif
