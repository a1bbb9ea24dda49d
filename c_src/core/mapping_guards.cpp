#include "core/mapping_guards.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <vector>

#include "core/arguments.hpp"
#include "core/error.hpp"
#include "core/expression.hpp"
#include "core/program.hpp"
#include "core/running.hpp"
#include "core/scalar.hpp"
#include "core/streams.hpp"

namespace mlx_nif {

ArrayHandle mapped_in_front(mlx_array a, mlx_stream s) {
  const auto shape = shape_of(a);
  std::vector<int> longer{1};
  longer.insert(longer.end(), shape.begin(), shape.end());
  // MLX leaves a reshape out that changes nothing.
  const ArrayHandle reshaped = apply(mlx_reshape, a, longer.data(), longer.size(), s);
  return apply(mlx_squeeze_axis, reshaped.get(), 0, s);
}

}  // namespace mlx_nif

namespace mlx_nif::guarded {
namespace {

// Both operands, each mapped and of the common shape if one of them is.
template <auto function>
int mapped_together(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  if (!mapping()) {
    return function(result, a, b, s);
  }
  const ArrayHandle never = make_scalar(Scalar(false), MLX_BOOL);
  const ArrayHandle left = apply(mlx_where, never.get(), b, a, s);
  const ArrayHandle right = apply(mlx_where, never.get(), a, b, s);
  return function(result, left.get(), right.get(), s);
}

ArrayHandle triangle(mlx_array a, bool upper, mlx_stream s) {
  require_all({a});
  ArrayHandle result;
  if (mapping() && mlx_array_ndim(a) >= 2) {
    check((upper ? mlx_triu : mlx_tril)(result.out(), a, 0, s));
  } else {
    check(mlx_array_set(result.out(), a));
  }
  return result;
}

void require_even(int length) {
  if (mapping() && length % 2 != 0) {
    throw Error(std::format("an inverse transform of the odd length {} cannot be mapped", length));
  }
}

using CustomVmapHandle = Handle<mlx_closure_custom_vmap, mlx_closure_custom_vmap_free>;
using Division = std::vector<ArrayHandle> (*)(mlx_array a, mlx_array b);

template <Division divide>
int run_division(mlx_vector_array* results, const mlx_vector_array operands) {
  return guard_closure([&] {
    std::vector<ArrayHandle> given;
    append_all(given, operands);
    set_all(results, divide(given.at(0).get(), given.at(1).get()));
  });
}

// The results of a division with a rule of its own for how it is mapped.
template <Division divide>
std::vector<ArrayHandle> mapped_division(mlx_array a, mlx_array b, mlx_stream s);

// With the mapped axes in front, or an axis of one element.
template <Division divide>
int map_division(mlx_vector_array* results, mlx_vector_int* result_axes, const mlx_vector_array operands,
                 const int* axes, std::size_t count) {
  return guard_closure([&] {
    const mlx_stream stream = Streams::instance().default_stream();
    std::vector<ArrayHandle> given;
    append_all(given, operands);
    for (std::size_t index = 0; index < count; ++index) {
      const mlx_array operand = given.at(index).get();
      given[index] = axes[index] < 0 ? apply(mlx_expand_dims, operand, 0, stream)
                                     : apply(mlx_moveaxis, operand, axes[index], 0, stream);
    }
    const bool again = Mapping::depth() > 1;
    const auto made = again ? mapped_division<divide>(given.at(0).get(), given.at(1).get(), stream)
                            : divide(given.at(0).get(), given.at(1).get());
    set_all(results, made);
    std::vector<int> front(made.size(), 0);
    check(mlx_vector_int_set_data(result_axes, front.data(), front.size()));
  });
}

template <Division divide>
std::vector<ArrayHandle> mapped_division(mlx_array a, mlx_array b, mlx_stream s) {
  const std::array operands{a, b};
  ArrayVectorHandle spread;
  check(mlx_broadcast_arrays(spread.out(), vector_of(operands).get(), s));
  std::vector<ArrayHandle> inputs;
  append_all(inputs, spread.get());
  const ClosureHandle division(mlx_closure_new_func(run_division<divide>));
  const CustomVmapHandle rule(mlx_closure_custom_vmap_new_func(map_division<divide>));
  ClosureHandle mappable;
  check(mlx_custom_function(mappable.out(), division.get(), {}, {}, rule.get()));
  std::vector<ArrayHandle> results;
  apply_closure(mappable.get(), borrow(inputs), results);
  return results;
}

std::vector<ArrayHandle> quotient(mlx_array a, mlx_array b) {
  std::vector<ArrayHandle> results;
  results.push_back(apply(mlx_floor_divide, a, b, Streams::instance().default_stream()));
  return results;
}

std::vector<ArrayHandle> quotient_and_remainder(mlx_array a, mlx_array b) {
  ArrayVectorHandle both;
  check(mlx_divmod(both.out(), a, b, Streams::instance().default_stream()));
  std::vector<ArrayHandle> results;
  append_all(results, both.get());
  return results;
}

template <auto of_all, auto along_axis>
int place_of_all(mlx_array* result, mlx_array a, bool keep_axes, mlx_stream s) {
  require_all({a});
  if (!mapping() || !keep_axes) {
    return of_all(result, a, keep_axes, s);
  }
  const ArrayHandle flat = apply(mlx_flatten, a, 0, -1, s);
  const ArrayHandle place = apply(along_axis, flat.get(), 0, true, s);
  const std::vector<int> ones(mlx_array_ndim(a), 1);
  return mlx_reshape(result, place.get(), ones.data(), ones.size(), s);
}

}  // namespace

int floor_divide_integers(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapping() ? mlx_array_set(result, mapped_division<quotient>(a, b, s).at(0).get())
                   : mlx_floor_divide(result, a, b, s);
}

int divmod_integers(mlx_vector_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  if (!mapping()) {
    return mlx_divmod(result, a, b, s);
  }
  set_all(result, mapped_division<quotient_and_remainder>(a, b, s));
  return 0;
}

int logical_xor(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  const ArrayHandle left = apply(mlx_astype, a, MLX_BOOL, s);
  const ArrayHandle right = apply(mlx_astype, b, MLX_BOOL, s);
  return mapping() ? not_equal(result, left.get(), right.get(), s) : mlx_logical_xor(result, a, b, s);
}

int array_equal(mlx_array* result, mlx_array a, mlx_array b, bool equal_nan, mlx_stream s) {
  require_all({a, b});
  if (!mapping() || !equal_nan || !std::ranges::equal(shape_of(a), shape_of(b))) {
    return mlx_array_equal(result, a, b, equal_nan, s);
  }
  const ArrayHandle equal = apply(mlx_equal, a, b, s);
  const ArrayHandle both_nan = apply(mlx_logical_and, apply(mlx_isnan, a, s).get(), apply(mlx_isnan, b, s).get(), s);
  return mlx_all(result, apply(mlx_logical_or, equal.get(), both_nan.get(), s).get(), false, s);
}

int argmax(mlx_array* result, mlx_array a, bool keep_axes, mlx_stream s) {
  return place_of_all<mlx_argmax, mlx_argmax_axis>(result, a, keep_axes, s);
}

int argmin(mlx_array* result, mlx_array a, bool keep_axes, mlx_stream s) {
  return place_of_all<mlx_argmin, mlx_argmin_axis>(result, a, keep_axes, s);
}

int view(mlx_array* result, mlx_array a, mlx_dtype dtype, mlx_stream s) {
  require_all({a});
  return mapping() ? mlx_view(result, mapped_in_front(a, s).get(), dtype, s) : mlx_view(result, a, dtype, s);
}

int not_equal(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  if (!mapping()) {
    return mlx_not_equal(result, a, b, s);
  }
  return mlx_logical_not(result, apply(mlx_equal, a, b, s).get(), s);
}

int bitwise_and(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_bitwise_and>(result, a, b, s);
}

int bitwise_or(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_bitwise_or>(result, a, b, s);
}

int bitwise_xor(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  require_all({a, b});
  // For booleans, MLX's own returns `a` when it may reuse its memory: the CPU then computes `a ^ b ^ b` in place.
  const bool booleans = mlx_array_dtype(a) == MLX_BOOL && mlx_array_dtype(b) == MLX_BOOL;
  return booleans ? not_equal(result, a, b, s) : mapped_together<mlx_bitwise_xor>(result, a, b, s);
}

int left_shift(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_left_shift>(result, a, b, s);
}

int right_shift(mlx_array* result, mlx_array a, mlx_array b, mlx_stream s) {
  return mapped_together<mlx_right_shift>(result, a, b, s);
}

int linalg_tri_inv(mlx_array* result, mlx_array a, bool upper, mlx_stream s) {
  return mlx_linalg_tri_inv(result, triangle(a, upper, s).get(), upper, s);
}

int linalg_cholesky_inv(mlx_array* result, mlx_array a, bool upper, mlx_stream s) {
  return mlx_linalg_cholesky_inv(result, triangle(a, upper, s).get(), upper, s);
}

int linalg_solve_triangular(mlx_array* result, mlx_array a, mlx_array b, bool upper, mlx_stream s) {
  return mlx_linalg_solve_triangular(result, triangle(a, upper, s).get(), b, upper, s);
}

int fft_irfft(mlx_array* result, mlx_array a, int n, int axis, mlx_fft_norm norm, mlx_stream s) {
  require_even(n);
  return mlx_fft_irfft(result, a, n, axis, norm, s);
}

int fft_irfft2(mlx_array* result, mlx_array a, const int* n, size_t n_count, const int* axes, size_t axes_count,
               mlx_fft_norm norm, mlx_stream s) {
  require_even(n_count == 0 ? 0 : n[n_count - 1]);
  return mlx_fft_irfft2(result, a, n, n_count, axes, axes_count, norm, s);
}

int fft_irfftn(mlx_array* result, mlx_array a, const int* n, size_t n_count, const int* axes, size_t axes_count,
               mlx_fft_norm norm, mlx_stream s) {
  require_even(n_count == 0 ? 0 : n[n_count - 1]);
  return mlx_fft_irfftn(result, a, n, n_count, axes, axes_count, norm, s);
}

}  // namespace mlx_nif::guarded
