// Operations that are transformed by rules of their own, in place of those of what they are made of.
#pragma once

#include <mlx/mlx.h>

#include <functional>
#include <utility>
#include <vector>

namespace mlx_nif {

using MlxArrays = std::vector<mlx::core::array>;
using MlxFunction = std::function<MlxArrays(const MlxArrays& inputs)>;

// Where a rule is null, MLX transforms what the operation is made of.
struct TransformRules {
  // The results and their mapped axes.
  using Mapped = std::pair<MlxArrays, std::vector<int>>;

  // Gives a cotangent for each primal.
  std::function<MlxArrays(const MlxArrays& primals, const MlxArrays& cotangents, const MlxArrays& results)> vjp;
  // What MLX's own derivative computes the operation of, in place of the primals: the same numbers.
  std::function<MlxArrays(const MlxArrays& primals, const MlxArrays& results)> computed_anew_of;
  // Takes and gives a tangent for each primal and each result.
  std::function<MlxArrays(const MlxArrays& primals, const MlxArrays& tangents)> jvp;
  // An axis of -1 is that of an input that is the same for all.
  std::function<Mapped(const MlxArrays& inputs, const std::vector<int>& axes)> vmap;
};

// The results of the operation. Outside of a transform they are just that.
MlxArrays ruled(const MlxFunction& operation, const MlxArrays& inputs, const TransformRules& rules);

// While it lives, MLX transforms a function on this thread. MLX transforms whatever leads to a result, also where a
// rule takes its place, and fails where that has no transform. So what ruled operations are made of is hidden until the
// outermost of these ends.
class TransformScope {
 public:
  TransformScope();
  ~TransformScope();
  TransformScope(const TransformScope&) = delete;
  TransformScope& operator=(const TransformScope&) = delete;
};

// What the array is still to be computed from when the outermost of these ends; empty for an array of another
// operation.
MlxArrays hidden_inputs(const mlx::core::array& array);

// The operation as a function of the primals with these numbers; the others are as given.
MlxFunction of_some_primals(MlxFunction operation, MlxArrays primals, std::vector<int> numbers);

// The size of the axes that are mapped, of which there is one at least.
int mapped_size(const MlxArrays& inputs, const std::vector<int>& axes);

// The stream of the operation that made the array, or else the default stream for its type.
mlx::core::Stream own_stream(const mlx::core::array& array);

// Where MLX computes on the default stream what belongs to an array without an operation, a GPU would get f64: such an
// array becomes a copy that a CPU makes.
mlx::core::array on_a_stream(const mlx::core::array& array);

// The function over slices of the inputs, stacked along the axes of the results. MLX moves mapped axes on the default
// stream; here this is done on the stream that made the result.
MlxArrays map_over_axes(const MlxFunction& function, const MlxArrays& inputs, const std::vector<int>& axes,
                        const std::vector<int>& result_axes);

}  // namespace mlx_nif
