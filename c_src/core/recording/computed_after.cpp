// Gives MLX's own node the rules that it lacks.
#include "core/recording/computed_after.hpp"

#include <algorithm>
#include <cstddef>

#include "core/handles/mlx_objects.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// The first `count` of the arrays, computed after the rest.
MlxArrays first_after_rest(std::ptrdiff_t count, const MlxArrays& all) {
  const auto first = [count](const auto& list) { return std::vector(list.begin(), list.begin() + count); };
  const auto depend = [count, first](const MlxArrays& arrays) {
    return mx::depends(first(arrays), {arrays.begin() + count, arrays.end()});
  };
  TransformRules rules;
  rules.vjp = [count](const MlxArrays& primals, const MlxArrays& cotangents, const MlxArrays&) {
    MlxArrays all_cotangents = cotangents;
    for (auto other = primals.begin() + count; other != primals.end(); ++other) {
      all_cotangents.push_back(mx::zeros_like(*other, own_stream(*other)));
    }
    return all_cotangents;
  };
  rules.jvp = [first](const MlxArrays&, const MlxArrays& tangents) { return first(tangents); };
  rules.vmap = [count, first](const MlxArrays& given, const std::vector<int>& axes) -> TransformRules::Mapped {
    return {first_after_rest(count, given), first(axes)};
  };
  return ruled(depend, all, rules);
}

}  // namespace

MlxArrays computed_after(MlxArrays arrays, MlxArrays others) {
  const auto is_double = [](const mx::array& array) { return array.dtype() == mx::float64; };
  const auto count = static_cast<std::ptrdiff_t>(arrays.size());
  // MLX makes all of them by one node on the stream of the first: no GPU has f64.
  if (std::ranges::any_of(arrays, is_double) || std::ranges::any_of(others, is_double)) {
    arrays[0] = mx::copy(arrays[0], stream_of(Streams::instance().default_stream(MLX_FLOAT64)));
  }
  for (const mx::array& other : others) {
    arrays.push_back(mx::stop_gradient(other, own_stream(other)));
  }
  return first_after_rest(count, arrays);
}

}  // namespace mlx_nif
