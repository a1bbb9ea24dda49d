// Each kernel for packed matrices that this processor can run beside plain sums, and what all threads compute at once.
#include "sanitizers/products.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <format>
#include <vector>

#include "core/guards/convolution_guards.hpp"
#include "core/guards/exponential_functions.hpp"
#include "core/guards/matrix_products.hpp"
#include "core/handles/expression.hpp"
#include "core/kernels/packed_rows.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {
namespace {

struct Form {
  int bits;
  int group_size;
  int rows;
  int outputs;
  int columns;
};

// One tile, rests of tiles, and more columns than are unpacked at once.
constexpr Form forms[] = {{4, 32, 1, 6, 64},  {4, 64, 4, 13, 128},   {4, 128, 7, 5, 1152}, {8, 32, 5, 7, 1088},
                          {8, 64, 1, 2, 192}, {8, 128, 130, 1, 128}, {4, 32, 2, 31, 2112}};

// Numbers that are equal in each run.
class Numbers {
 public:
  std::uint32_t word() { return state_ = state_ * 1664525u + 1013904223u; }
  float fraction() { return static_cast<float>(word() >> 8) / (1 << 24) - 0.5f; }

 private:
  std::uint32_t state_ = 1;
};

struct Operands {
  std::vector<std::uint32_t> words;
  std::vector<float> scales, biases, factor;
};

Operands operands_of(const Form& form) {
  Numbers numbers;
  const std::size_t elements = static_cast<std::size_t>(form.outputs) * form.columns;
  Operands made{.words = std::vector<std::uint32_t>(elements * form.bits / bits_of_word),
                .scales = std::vector<float>(elements / form.group_size),
                .biases = std::vector<float>(elements / form.group_size),
                .factor = std::vector<float>(static_cast<std::size_t>(form.rows) * form.columns)};
  for (auto& word : made.words) {
    word = numbers.word();
  }
  for (auto* fractions : {&made.scales, &made.biases, &made.factor}) {
    for (float& fraction : *fractions) {
      fraction = numbers.fraction();
    }
  }
  return made;
}

double plain_product(const Form& form, const Operands& operands, int row, int output) {
  double sum = 0;
  for (int column = 0; column < form.columns; ++column) {
    const std::size_t element = static_cast<std::size_t>(output) * form.columns + column;
    const std::uint32_t word = operands.words[element * form.bits / bits_of_word];
    const std::uint32_t number = word >> (element * form.bits % bits_of_word) & ((1u << form.bits) - 1);
    const std::size_t group = element / form.group_size;
    sum += static_cast<double>(operands.factor[static_cast<std::size_t>(row) * form.columns + column]) *
           (static_cast<double>(operands.scales[group]) * number + operands.biases[group]);
  }
  return sum;
}

void check_kernel(const PackedKernel& kernel, const Form& form) {
  constexpr double tolerance = 1e-3;
  const Operands operands = operands_of(form);
  std::vector<float> arranged(operands.factor.size());
  for (int row = 0; row < form.rows; ++row) {
    const std::size_t first = static_cast<std::size_t>(row) * form.columns;
    arrange(&operands.factor[first], 1, FactorType::f32, form.columns, form.bits, &arranged[first]);
  }
  const PackedRows matrix{.words = operands.words.data(),
                          .scales = operands.scales.data(),
                          .biases = operands.biases.data(),
                          .type = FactorType::f32,
                          .bits = form.bits,
                          .group_size = form.group_size,
                          .columns = form.columns};
  std::vector<float> products(static_cast<std::size_t>(form.rows) * form.outputs);
  const PackedFactor factor{
      .arranged = arranged.data(), .rows = form.rows, .outputs = form.outputs, .products = products.data()};
  kernel.multiply(matrix, factor, 0, form.outputs);
  for (int row = 0; row < form.rows; ++row) {
    for (int output = 0; output < form.outputs; ++output) {
      const double product = products[static_cast<std::size_t>(row) * form.outputs + output];
      if (std::abs(product - plain_product(form, operands, row, output)) > tolerance * form.columns) {
        fail(std::format("{}: a product of {} bits is wrong", kernel.processor, form.bits));
      }
    }
  }
}

// Of equal elements.
template <typename Number>
Reference filled(std::vector<int> shape, Number number, mlx_dtype type) {
  return build({}, [&](mlx_stream s) {
    const ArrayHandle one(mlx_array_new_data(&number, nullptr, 0, type));
    return apply(mlx_full, shape.data(), shape.size(), one.get(), type, s);
  });
}

}  // namespace

void products_of_packed_matrices() {
  for (const PackedKernel& kernel : packed_kernels()) {
    for (const Form& form : forms) {
      check_kernel(kernel, form);
    }
  }
  // Each number is 3, and each element 2 * 3 - 5.
  constexpr int outputs = 1024, columns = 512, of_word = 8, group = 64;
  constexpr std::uint32_t word = 0x33333333;
  const Reference words = filled({outputs, columns / of_word}, word, MLX_UINT32);
  const Reference scales = filled({outputs, columns / group}, 2.0f, MLX_FLOAT32);
  const Reference biases = filled({outputs, columns / group}, -5.0f, MLX_FLOAT32);
  evaluate_now({words, scales, biases});
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      const float number = static_cast<float>((index + round) % 7);
      const Reference x = filled({12, columns}, number, MLX_FLOAT32);
      const Reference product = build({x, words, scales, biases}, [&](mlx_stream s) {
        return apply(guarded::packed_matmul, x->get(), words->get(), scales->get(), biases->get(), group, 4, s);
      });
      const Reference half = build({product, x}, [&](mlx_stream s) {
        const ArrayHandle nothing = apply(mlx_subtract, product->get(), product->get(), s);
        return apply(guarded::sigmoid, nothing.get(), s);
      });
      expect_equal(read(half), 0.5f, "a sigmoid");
      expect_equal(read(product), number * columns, "a product with a packed matrix");
    }
  });
}

void convolutions_of_patches() {
  const Reference image = filled({3, 33, 31, 8}, 1.0f, MLX_FLOAT32);
  const Reference kernel = filled({5, 3, 3, 8}, 0.5f, MLX_FLOAT32);
  evaluate_now({image, kernel});
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      const int stride = (index + round) % 3 + 1;
      const Reference result = build({image, kernel}, [&](mlx_stream s) {
        return apply(guarded::conv2d, image->get(), kernel->get(), stride, stride, 1, 1, 1, 1, 1, s);
      });
      // At the corner, the kernel sees two elements along each axis.
      expect_equal(read(result), 2 * 2 * 8 * 0.5f, "a convolution");
      const Reference spread = build({result, kernel}, [&](mlx_stream s) {
        const ArrayHandle back = apply(mlx_swapaxes, kernel->get(), 0, 3, s);
        return apply(guarded::conv_transpose2d, result->get(), back.get(), stride, stride, 0, 0, 1, 1, 0, 0, 1, s);
      });
      // There it sees one of five channels.
      expect_equal(read(spread), 5 * 16 * 0.5f, "a transposed convolution");
    }
  });
}

}  // namespace mlx_nif::stress
