// Gives a copy in the order of rows the same copy as its derivative.
#include "core/recording/in_rows.hpp"

#include "core/recording/ruled_operation.hpp"
#include "core/recording/run_purpose.hpp"

namespace mlx_nif {

namespace mx = mlx::core;

mx::array in_rows(const mx::array& array, mx::Stream stream) {
  if (!differentiating()) {
    return mx::contiguous(array, false, stream);
  }
  TransformRules rules;
  rules.jvp = [stream](const MlxArrays&, const MlxArrays& tangents) -> MlxArrays {
    return {in_rows(tangents[0], stream)};
  };
  const MlxFunction copied = [stream](const MlxArrays& of) -> MlxArrays {
    return {mx::contiguous(of[0], false, stream)};
  };
  return ruled(copied, {array}, rules)[0];
}

}  // namespace mlx_nif
