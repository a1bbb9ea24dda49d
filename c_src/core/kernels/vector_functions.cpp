// Divides the elements among threads.
#include "core/kernels/vector_functions.hpp"

#include <mlx/allocator.h>
#include <mlx/backend/common/unary.h>
#include <mlx/backend/cpu/encoder.h>
#include <mlx/ops.h>
#include <mlx/primitives.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <vector>

#include "core/kernels/rows.hpp"
#include "core/kernels/vector_loops.hpp"
#include "core/recording/ruled_operation.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/cpu_workers.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

const VectorLoops& loops() {
  static const VectorLoops of_processor = vector_loops();
  return of_processor;
}

VectorLoop* loop_of(VectorFunction function) {
  return function == VectorFunction::exp ? loops().exp : loops().sigmoid;
}

// The rows of `x` along its last axis, one after the other in `results`, each by the loop.
void compute_rows(VectorLoop* loop, const mx::array& x, float* results) {
  const std::vector<std::ptrdiff_t> beginnings = beginnings_of_rows(x);
  const std::ptrdiff_t columns = x.shape(-1), step = x.strides(-1);
  in_ranges(beginnings.size(), x.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
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

void compute_elements(VectorLoop* loop, const float* elements, float* results, std::size_t count) {
  in_ranges(count, count,
            [&](std::size_t begin, std::size_t end) { loop(elements + begin, results + begin, end - begin); });
}

// An operation whose result has the shape of its operand, and takes its memory where nothing else needs it.
class VectorOperation : public mx::UnaryPrimitive {
 public:
  using UnaryPrimitive::UnaryPrimitive;

  void eval_gpu(const std::vector<mx::array>&, mx::array&) override {
    throw std::runtime_error("this function is computed on a CPU");
  }
  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override { return {inputs[0].shape()}; }

 protected:
  // `compute(x, results)`, when its turn comes.
  template <typename Compute>
  void compute_later(const mx::array& x, mx::array& output, const Compute& compute) {
    auto& encoder = mx::cpu::get_command_encoder(stream());
    encoder.set_input_array(x);
    encoder.set_output_array(output);
    encoder.dispatch(
        [x = mx::array::unsafe_weak_copy(x), results = output.data<float>(), compute] { compute(x, results); });
  }
};

class ElementsOperation final : public VectorOperation {
 public:
  ElementsOperation(mx::Stream stream, VectorFunction function) : VectorOperation(stream), function_(function) {}

  void eval_cpu(const std::vector<mx::array>& inputs, mx::array& output) override {
    mx::set_unary_output_data(inputs[0], output);
    compute_later(inputs[0], output, [loop = loop_of(function_)](const mx::array& x, float* results) {
      if (x.flags().contiguous) {
        compute_elements(loop, x.data<float>(), results, x.data_size());
      } else {
        compute_rows(loop, x, results);
      }
    });
  }

  const char* name() const override { return function_ == VectorFunction::exp ? "VectorExp" : "VectorSigmoid"; }
  bool is_equivalent(const Primitive& other) const override {
    return function_ == static_cast<const ElementsOperation&>(other).function_;
  }

 private:
  VectorFunction function_;
};

class Softmax final : public VectorOperation {
 public:
  using VectorOperation::VectorOperation;

  void eval_cpu(const std::vector<mx::array>& inputs, mx::array& output) override {
    const mx::array& input = inputs[0];
    if (input.flags().row_contiguous) {
      mx::set_unary_output_data(input, output);
    } else {
      output.set_data(mx::allocator::malloc(output.nbytes()));
    }
    compute_later(input, output, [](const mx::array& x, float* results) { compute_rows(loops().softmax, x, results); });
  }

  const char* name() const override { return "VectorSoftmax"; }
  bool is_equivalent(const Primitive&) const override { return true; }
};

bool is_computed_here(const mx::array& x, mx::Stream stream) {
  return on_cpu(stream) && x.dtype() == mx::float32 && x.size() > 0 && !mapping() && !portable();
}

}  // namespace

std::optional<mx::array> vector_function(VectorFunction function, const mx::array& x, mx::Stream stream) {
  if (!is_computed_here(x, stream) || loop_of(function) == nullptr || differentiating()) {
    return std::nullopt;
  }
  return mx::array(x.shape(), mx::float32, std::make_shared<ElementsOperation>(stream, function), {x});
}

std::optional<mx::array> vector_softmax(const mx::array& x, mx::Stream stream) {
  if (!is_computed_here(x, stream) || loops().softmax == nullptr || x.ndim() == 0 || differentiating_twice()) {
    return std::nullopt;
  }
  // By how much each element changes its share, of which all together change none.
  const auto changes = [stream](const mx::array& shares, const mx::array& of_shares) {
    const mx::array changed = mx::multiply(shares, of_shares, stream);
    return mx::subtract(changed, mx::multiply(shares, mx::sum(changed, -1, true, stream), stream), stream);
  };
  const auto operation = [stream](const MlxArrays& of) -> MlxArrays {
    return {mx::array(of[0].shape(), mx::float32, std::make_shared<Softmax>(stream), {of[0]})};
  };
  TransformRules rules;
  rules.vjp = [changes](const MlxArrays&, const MlxArrays& cotangents, const MlxArrays& results) -> MlxArrays {
    return {changes(results[0], cotangents[0])};
  };
  rules.jvp = [changes, operation](const MlxArrays& primals, const MlxArrays& tangents) -> MlxArrays {
    return {changes(operation(primals)[0], tangents[0])};
  };
  return ruled(operation, {x}, rules)[0];
}

}  // namespace mlx_nif
