// Evaluates something that comes last.
#include "core/evaluation/synchronization.hpp"

#include <memory>

#include "core/evaluation/ahead.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/handles/expression.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {

void synchronize(mlx_stream stream) {
  finish_scheduling_ahead();
  const ArrayHandle zero(mlx_array_new_int(0));
  Array last(apply(mlx_negative, zero.get(), stream), std::make_shared<Graph>(), stream);
  evaluate(last, Waiting::unlimited);
  // What the operations on a GPU used is freed a little after their end, which MLX's own function waits for. What
  // failed there is told to those whose arrays it are.
  if (device_of(stream) == MLX_GPU) {
    clear_error(stream);
  }
}

}  // namespace mlx_nif
