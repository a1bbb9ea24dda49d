// Finds the elements of the operands in memory, and divides the outputs among threads.
#include "core/kernels/packed_product.hpp"

#include <mlx/allocator.h>
#include <mlx/backend/cpu/encoder.h>
#include <mlx/primitives.h>
#include <mlx/types/half_types.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/kernels/packed_rows.hpp"
#include "core/kernels/rows.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/cpu_workers.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// To unpack an element takes as long as this many multiplications of rows.
constexpr double cost_of_unpacking = 8;
// A product of at most this cost is soon done: a second thread would save up to 0.05 ms, and has to be woken.
constexpr double soon_done = 1 << 23;
constexpr double smallest_piece = 1 << 21;
constexpr int pieces_of_thread = 4;

// Memory that begins where vectors do.
struct alignas(64) Line {
  std::array<float, 16> numbers;
};
using Numbers = std::unique_ptr<Line[]>;

Numbers make_numbers(std::size_t count) {
  constexpr std::size_t of_line = std::tuple_size_v<decltype(Line::numbers)>;
  return std::make_unique_for_overwrite<Line[]>((count + of_line - 1) / of_line);
}

float* begin(const Numbers& numbers) {
  return numbers.get()->numbers.data();
}

std::optional<FactorType> factor_type(mx::Dtype type) {
  if (type == mx::float32) {
    return FactorType::f32;
  }
  if (type == mx::float16) {
    return FactorType::f16;
  }
  return type == mx::bfloat16 ? std::optional(FactorType::bf16) : std::nullopt;
}

// The elements of a matrix, row after row; a copy where they lie in another order.
class Elements {
 public:
  explicit Elements(const mx::array& matrix) : begin_(matrix.data<std::byte>()) {
    if (matrix.flags().row_contiguous) {
      return;
    }
    const std::size_t size = matrix.itemsize();
    copied_.reserve(matrix.nbytes());
    for (int row = 0; row < matrix.shape(0); ++row) {
      for (int column = 0; column < matrix.shape(1); ++column) {
        const std::byte* element =
            begin_ + (row * matrix.strides(0) + column * matrix.strides(1)) * static_cast<std::ptrdiff_t>(size);
        copied_.insert(copied_.end(), element, element + size);
      }
    }
    begin_ = copied_.data();
  }
  Elements(const Elements&) = delete;
  Elements& operator=(const Elements&) = delete;

  const void* begin() const { return begin_; }

 private:
  const std::byte* begin_;
  std::vector<std::byte> copied_;
};

Numbers arranged(const mx::array& x, int bits) {
  const int columns = x.shape(-1);
  const auto type = *factor_type(x.dtype());
  Numbers numbers = make_numbers(x.size());
  float* row = begin(numbers);
  for (const std::ptrdiff_t beginning : beginnings_of_rows(x)) {
    arrange(x.data<std::byte>() + beginning * static_cast<std::ptrdiff_t>(x.itemsize()), x.strides(-1), type, columns,
            bits, row);
    row += columns;
  }
  return numbers;
}

// On as many threads as are worth it.
void multiply_on_threads(const PackedRows& matrix, const PackedFactor& factor) {
  static const PackedKernel& kernel = packed_kernels().front();
  const int outputs = factor.outputs;
  const double cost = (cost_of_unpacking + factor.rows) * outputs * matrix.columns;
  const int tiles = (outputs + kernel.outputs_at_once - 1) / kernel.outputs_at_once;
  const double most_pieces = std::min<double>(tiles, cpu_threads() * pieces_of_thread);
  const int pieces = cost > soon_done ? static_cast<int>(std::min(cost / smallest_piece, most_pieces)) : 1;
  const auto end_of = [&](long pieces_before) {
    return static_cast<int>(std::min<long>(outputs, tiles * pieces_before / pieces * kernel.outputs_at_once));
  };
  in_pieces(pieces, [&](int piece) { kernel.multiply(matrix, factor, end_of(piece), end_of(piece + 1)); });
}

template <typename Half>
void round_all(const float* numbers, Half* rounded, std::size_t count) {
  std::transform(numbers, numbers + count, rounded, [](float number) { return static_cast<Half>(number); });
}

class PackedProduct final : public mx::UnaryPrimitive {
 public:
  PackedProduct(mx::Stream stream, int group_size, int bits)
      : UnaryPrimitive(stream), group_size_(group_size), bits_(bits) {}

  void eval_cpu(const std::vector<mx::array>& inputs, mx::array& output) override {
    output.set_data(mx::allocator::malloc(output.nbytes()));
    auto& encoder = mx::cpu::get_command_encoder(stream());
    std::vector<mx::array> operands;
    for (const mx::array& input : inputs) {
      encoder.set_input_array(input);
      operands.push_back(mx::array::unsafe_weak_copy(input));
    }
    encoder.set_output_array(output);
    encoder.dispatch(
        [operands = std::move(operands), group_size = group_size_, bits = bits_,
         product = mx::array::unsafe_weak_copy(output)]() mutable { compute(operands, group_size, bits, product); });
  }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override {
    throw std::runtime_error("[quantized_matmul] this product is computed on a CPU");
  }

  const char* name() const override { return "PackedProduct"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& product = static_cast<const PackedProduct&>(other);
    return group_size_ == product.group_size_ && bits_ == product.bits_;
  }
  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    mx::Shape shape = inputs[0].shape();
    shape.back() = inputs[1].shape(0);
    return {shape};
  }

 private:
  static void compute(const std::vector<mx::array>& operands, int group_size, int bits, mx::array& product) {
    const mx::array& x = operands[0];
    const Elements words(operands[1]), scales(operands[2]), biases(operands[3]);
    const PackedRows matrix{.words = static_cast<const std::uint32_t*>(words.begin()),
                            .scales = scales.begin(),
                            .biases = biases.begin(),
                            .type = *factor_type(operands[2].dtype()),
                            .bits = bits,
                            .group_size = group_size,
                            .columns = x.shape(-1)};
    const int outputs = operands[1].shape(0);
    const int rows = static_cast<int>(x.size() / x.shape(-1));
    const Numbers factor = arranged(x, bits);
    const auto multiply = [&](float* products) {
      multiply_on_threads(matrix, {.arranged = begin(factor), .rows = rows, .outputs = outputs, .products = products});
    };
    if (product.dtype() == mx::float32) {
      multiply(product.data<float>());
      return;
    }
    const Numbers wide = make_numbers(product.size());
    multiply(begin(wide));
    if (product.dtype() == mx::float16) {
      round_all(begin(wide), product.data<mx::float16_t>(), product.size());
    } else {
      round_all(begin(wide), product.data<mx::bfloat16_t>(), product.size());
    }
  }

  int group_size_;
  int bits_;
};

bool is_computed_here(const mx::array& x, const PackedMatrix& matrix, mx::Stream stream) {
  const auto [words, scales, biases, group_size, bits] = matrix;
  if (!on_cpu(stream) || differentiating() || mapping() || portable() || (bits != 4 && bits != 8) ||
      group_size % (packed_block / 2) != 0 || !std::has_single_bit(static_cast<unsigned>(group_size)) ||
      x.ndim() == 0 || x.size() == 0 || words.ndim() != 2 || words.size() == 0) {
    return false;
  }
  const int outputs = words.shape(0);
  const int columns = words.shape(1) * (bits_of_word / bits);
  const mx::Shape of_groups{outputs, columns / group_size};
  return x.shape(-1) == columns && columns % packed_block == 0 && scales.shape() == of_groups &&
         biases.shape() == of_groups && scales.dtype() == biases.dtype() && words.dtype() == mx::uint32 &&
         factor_type(scales.dtype()) && factor_type(x.dtype());
}

}  // namespace

std::optional<mx::array> packed_product(const mx::array& x, const PackedMatrix& matrix, mx::Stream stream) {
  if (!is_computed_here(x, matrix, stream)) {
    return std::nullopt;
  }
  mx::Shape shape = x.shape();
  shape.back() = matrix.words.shape(0);
  const mx::Dtype type = mx::promote_types(x.dtype(), matrix.scales.dtype());
  return mx::array(std::move(shape), type, std::make_shared<PackedProduct>(stream, matrix.group_size, matrix.bits),
                   {x, matrix.words, matrix.scales, matrix.biases});
}

}  // namespace mlx_nif
