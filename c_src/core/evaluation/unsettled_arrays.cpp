// Asks MLX what has become of the arrays.
#include "core/evaluation/unsettled_arrays.hpp"

#include <mlx/primitives.h>

#include <iterator>

#include "core/handles/error.hpp"
#include "core/handles/nodes.hpp"
#include "core/recording/tape.hpp"
#include "core/streams/late_failure.hpp"

namespace mlx_nif {
namespace {

// Some transforms call the user's function with arrays that only have a shape and a type.
void require_value(const Array* array) {
  if (!array->has_value()) {
    throw Error("inside of a function for " + array->trace().tape->withholds_values() +
                ", an array has a shape and a type but no " +
                "value to read; choose between values with Mlx.select/3, or compute the value outside and pass it in");
  }
}

}  // namespace

// The operations of a recorded function may have other streams than that which it is called on.
mlx::core::Stream computed_on(const Array& array) {
  const mlx::core::array& node = array_of(array.get());
  if (node.has_primitive()) {
    return node.primitive().stream();
  }
  return node.event().valid() ? node.event().stream() : stream_of(array.stream());
}

UnsettledArrays::UnsettledArrays(std::span<Array* const> arrays) {
  std::ranges::for_each(arrays, require_value);
  std::ranges::copy_if(arrays, std::back_inserter(arrays_), [](const Array* array) { return !array->settled(); });
}

bool UnsettledArrays::fallible() const {
  return std::ranges::any_of(arrays_, [](const Array* array) { return array->fallible() && !array->settled(); });
}

bool UnsettledArrays::all_scheduled() const {
  return std::ranges::all_of(
      arrays_, [](const Array* array) { return array->settled() || !is_unscheduled(array_of(array->get())); });
}

bool UnsettledArrays::all_arrived() const {
  return std::ranges::all_of(arrays_, [](const Array* array) {
    return array->settled() || has_arrived(array->get(), array->meaning_of_mark());
  });
}

void UnsettledArrays::settle() const {
  for_each([](Array& array) {
    array.graph().check_unawaited();
    wait_for_arrival(array.get(), array.meaning_of_mark());
    array.settle();
  });
}

}  // namespace mlx_nif
