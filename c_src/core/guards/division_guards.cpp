// Divides by 1 in the place of 0 and -1, and puts the results for these in their places.
#include "core/guards/division_guards.hpp"

#include <vector>

#include "core/guards/integer_types.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif::guarded {
namespace {

bool is_integral(mlx_array array) {
  const mlx_dtype type = mlx_array_dtype(array);
  return type == MLX_BOOL || integer_range(type).has_value();
}

// Integer division with the divisors that stop the process replaced by 1.
struct Division {
  ArrayHandle by_zero;
  ArrayHandle by_minus_one;  // only for signed divisors
  ArrayHandle divisor;

  Division(mlx_array b, mlx_stream s) : by_zero(apply(mlx_equal, b, scalar_like(0, b).get(), s)) {
    ArrayHandle special = share(by_zero.get());
    if (is_signed(b)) {
      by_minus_one = apply(mlx_equal, b, scalar_like(-1, b).get(), s);
      special = apply(mlx_logical_or, by_zero.get(), by_minus_one.get(), s);
    }
    divisor = apply(mlx_where, special.get(), scalar_like(1, b).get(), b, s);
  }

  // `quotient` is the dividend where the divisor was replaced.
  ArrayHandle quotient(mlx_array quotient, mlx_stream s) const {
    ArrayHandle result = share(quotient);
    if (by_minus_one) {
      const ArrayHandle negated = apply(mlx_negative, quotient, s);
      result = apply(mlx_where, by_minus_one.get(), negated.get(), result.get(), s);
    }
    return apply(mlx_where, by_zero.get(), scalar_like(0, quotient).get(), result.get(), s);
  }

  ArrayHandle remainder(mlx_array remainder, mlx_array dividend, mlx_stream s) const {
    const ArrayHandle whole = apply(mlx_astype, dividend, mlx_array_dtype(remainder), s);
    return apply(mlx_where, by_zero.get(), whole.get(), remainder, s);
  }
};

bool divides_integers(mlx_array a, mlx_array b) {
  require_all({a, b});
  return is_integral(a) && is_integral(b);
}

}  // namespace

int floor_divide(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  if (!divides_integers(a, b)) {
    return mlx_floor_divide(result, a, b, s);
  }
  const Division division(b, s);
  const ArrayHandle quotient = apply(mlx_floor_divide, a, division.divisor.get(), s);
  return mlx_array_set(result, division.quotient(quotient.get(), s).get());
}

int remainder(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  if (!divides_integers(a, b)) {
    return mlx_remainder(result, a, b, s);
  }
  const Division division(b, s);
  const ArrayHandle remainder = apply(mlx_remainder, a, division.divisor.get(), s);
  return mlx_array_set(result, division.remainder(remainder.get(), a, s).get());
}

int divmod(mlx_vector_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  std::vector<ArrayHandle> results(2);
  if (divides_integers(a, b)) {
    check(floor_divide(results[0].out(), a, b, s));
    check(remainder(results[1].out(), a, b, s));
  } else if (mapping()) {
    results[0] = apply(mlx_floor_divide, a, b, s);
    results[1] = apply(mlx_stop_gradient, apply(mlx_remainder, a, b, s).get(), s);
  } else {
    return mlx_divmod(result, a, b, s);
  }
  set_all(result, results);
  return 0;
}

}  // namespace mlx_nif::guarded
