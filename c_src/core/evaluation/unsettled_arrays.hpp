// The arrays of an evaluation whose values are not there yet.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "core/array/array.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/small_vector.hpp"

namespace mlx_nif {

// The stream that MLX computes the array on, by its node.
mlx::core::Stream computed_on(const Array& array);

// What looks at MLX's nodes is to be called under the locks of their graphs.
class UnsettledArrays {
 public:
  // Those of the arrays that are not settled. Throws Error when one of the arrays has no value to read.
  explicit UnsettledArrays(std::span<Array* const> arrays);

  bool empty() const { return arrays_.empty(); }
  std::span<Array* const> all() const { return arrays_; }

  // Calls `visit` with each that is still not settled.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (Array* array : arrays_) {
      if (!array->settled()) {
        visit(*array);
      }
    }
  }

  // Calls `visit` with one of each stream that MLX computes some on. Looks at nodes.
  template <typename Visit>
  void for_each_stream(const Visit& visit) const {
    SmallVector<int, 4> seen;
    for_each([&](const Array& array) {
      const mlx::core::Stream stream = computed_on(array);
      if (std::ranges::find(seen.all(), stream.index) == seen.all().end()) {
        seen.push_back(stream.index);
        visit(array, borrow(stream));
      }
    });
  }

  // The computation of one of them can fail on a worker thread.
  bool fallible() const;

  // Looks at nodes.
  bool all_scheduled() const;

  // Throws Error when a value will never be there. Looks at nodes.
  bool all_arrived() const;

  // Returns at once when all of the streams is done that the arrays are computed on. Looks at nodes.
  void settle() const;

 private:
  std::vector<Array*> arrays_;
};

}  // namespace mlx_nif
