// Sums of many elements on a CPU, where MLX adds one element after another to one number of the type of the sum.
//
// From some point on such a number is so large that what is added to it vanishes: in f32 at 2^24 ones, in f16 at 2,048.
// Here long lines of elements are added up in pieces, and what has 16 bits in f32.
#pragma once

#include <mlx/c/mlx.h>

#include <span>
#include <tuple>

#include "core/handles/arguments.hpp"
#include "core/handles/error.hpp"
#include "core/handles/handle.hpp"

namespace mlx_nif {

// Has the sums in the graph between the inputs and the results add in pieces. The nodes between are known to nobody
// else. While a program is run to be differentiated or mapped, or for any shape, this does nothing: it is done to what
// comes of that.
void add_in_pieces(std::span<const mlx_array> results, std::span<const mlx_array> inputs);

namespace detail {

template <auto function>
struct InPieces;

template <typename... Parameters, int (*function)(mlx_array*, mlx_array, Parameters...)>
struct InPieces<function> {
  static int call(mlx_array* result, mlx_array a, Parameters... parameters) {
    const int status = function(result, a, parameters...);
    if (status == 0) {
      add_in_pieces(std::span(result, 1), std::span(&a, 1));
    }
    return status;
  }
};

}  // namespace detail

// The function of mlx-c, with the sums that its result is made of added in pieces.
template <auto function>
inline constexpr auto in_pieces = &detail::InPieces<function>::call;

// What integers are for a mean, a variance or a norm, so that their sum does not wrap. A sum in s64 is exact.
enum class Integers { s64, f32 };

// The array in a type in which a sum of its elements or of their squares is no infinity and does not wrap: 16 bits are
// f32.
ArrayHandle widened(mlx_array a, Integers integers, mlx_stream s);

// The result in the type of the array, if that has 16 bits.
int narrowed(mlx_array* result, mlx_array wide, mlx_array a, mlx_stream s);

namespace detail {

template <auto function, Integers integers>
struct OfWide;

template <typename... Parameters, int (*function)(mlx_array*, mlx_array, Parameters...), Integers integers>
struct OfWide<function, integers> {
  static int call(mlx_array* result, mlx_array a, Parameters... parameters) {
    require_all({a});
    const mlx_stream s = std::get<sizeof...(Parameters) - 1>(std::tuple(parameters...));
    const ArrayHandle wide = widened(a, integers, s);
    ArrayHandle made;
    check(in_pieces<function>(made.out(), wide.get(), parameters...));
    return narrowed(result, made.get(), a, s);
  }
};

}  // namespace detail

// The function of mlx-c, of the array in a wider type and with sums in pieces.
template <auto function, Integers integers = Integers::f32>
inline constexpr auto of_wide = &detail::OfWide<function, integers>::call;

// These of mlx-c, but for what MLX's own operation does to long lines and to 16 bits.
namespace guarded {

int softmax(mlx_array*, mlx_array a, bool precise, mlx_stream);
int softmax_axis(mlx_array*, mlx_array a, int axis, bool precise, mlx_stream);
int softmax_axes(mlx_array*, mlx_array a, const int* axes, size_t axes_count, bool precise, mlx_stream);
int logsumexp(mlx_array*, mlx_array a, bool keepdims, mlx_stream);
int logsumexp_axis(mlx_array*, mlx_array a, int axis, bool keepdims, mlx_stream);
int logsumexp_axes(mlx_array*, mlx_array a, const int* axes, size_t axes_count, bool keepdims, mlx_stream);
int cumsum(mlx_array*, mlx_array a, bool reverse, bool inclusive, mlx_optional_dtype dtype, mlx_stream);
int cumsum_axis(mlx_array*, mlx_array a, int axis, bool reverse, bool inclusive, mlx_optional_dtype dtype, mlx_stream);

}  // namespace guarded
}  // namespace mlx_nif
