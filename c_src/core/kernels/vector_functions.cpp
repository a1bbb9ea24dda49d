// Divides the elements among threads.
#include "core/kernels/vector_functions.hpp"

#include <mlx/backend/common/unary.h>
#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <vector>

#include "core/kernels/rows.hpp"
#include "core/kernels/vector_loops.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/cpu_workers.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// Fewer are soon done: a second thread would have to be woken.
constexpr std::size_t elements_of_piece = 1 << 16;
constexpr std::size_t most_pieces = 64;

VectorLoop* loop_of(VectorFunction function) {
  static const VectorLoops loops = vector_loops();
  return function == VectorFunction::exp ? loops.exp : loops.sigmoid;
}

class VectorOperation final : public mx::UnaryPrimitive {
 public:
  VectorOperation(mx::Stream stream, VectorFunction function) : UnaryPrimitive(stream), function_(function) {}

  void eval_cpu(const std::vector<mx::array>& inputs, mx::array& output) override {
    const mx::array& input = inputs[0];
    mx::set_unary_output_data(input, output);
    auto& encoder = mx::cpu::get_command_encoder(stream());
    encoder.set_input_array(input);
    encoder.set_output_array(output);
    encoder.dispatch(
        [loop = loop_of(function_), x = mx::array::unsafe_weak_copy(input), results = output.data<float>()] {
          if (x.flags().contiguous) {
            compute(loop, x.data<float>(), results, x.data_size());
          } else {
            compute_rows(loop, x, results);
          }
        });
  }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override {
    throw std::runtime_error("[exp] this function is computed on a CPU");
  }

  const char* name() const override { return function_ == VectorFunction::exp ? "VectorExp" : "VectorSigmoid"; }
  bool is_equivalent(const Primitive& other) const override {
    return function_ == static_cast<const VectorOperation&>(other).function_;
  }
  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override { return {inputs[0].shape()}; }

 private:
  static void compute(VectorLoop* loop, const float* elements, float* results, std::size_t count) {
    const std::size_t pieces = std::clamp<std::size_t>(count / elements_of_piece, 1, most_pieces);
    in_pieces(static_cast<int>(pieces), [&](int piece) {
      const std::size_t begin = count * piece / pieces, end = count * (piece + 1) / pieces;
      loop(elements + begin, results + begin, end - begin);
    });
  }

  // Of elements that do not lie together in memory, the results do.
  static void compute_rows(VectorLoop* loop, const mx::array& x, float* results) {
    const std::vector<std::ptrdiff_t> beginnings = beginnings_of_rows(x);
    const std::size_t rows = beginnings.size();
    const std::ptrdiff_t columns = x.shape(-1), step = x.strides(-1);
    const std::size_t pieces = std::clamp<std::size_t>(x.size() / elements_of_piece, 1, std::min(rows, most_pieces));
    in_pieces(static_cast<int>(pieces), [&](int piece) {
      for (std::size_t row = rows * piece / pieces; row < rows * (piece + 1) / pieces; ++row) {
        const float* elements = x.data<float>() + beginnings[row];
        float* const row_results = results + row * columns;
        if (step != 1) {
          for (std::ptrdiff_t column = 0; column < columns; ++column) {
            row_results[column] = elements[column * step];
          }
          elements = row_results;
        }
        loop(elements, row_results, columns);
      }
    });
  }

  VectorFunction function_;
};

}  // namespace

std::optional<mx::array> vector_function(VectorFunction function, const mx::array& x, mx::Stream stream) {
  if (!on_cpu(stream) || x.dtype() != mx::float32 || x.size() == 0 || loop_of(function) == nullptr ||
      differentiating() || mapping() || portable()) {
    return std::nullopt;
  }
  return mx::array(x.shape(), mx::float32, std::make_shared<VectorOperation>(stream, function), {x});
}

}  // namespace mlx_nif
