// Looks at what is multiplied, and at the operations before and after.
#include "core/kernels/skinny_products.hpp"

#include <mlx/fast_primitives.h>
#include <mlx/primitives.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "core/handles/nodes.hpp"
#include "core/kernels/skinny_kernels.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// Tensor cores have so many columns.
constexpr std::size_t most_rows = 8;

// Fewer outputs keep too few processors busy, and the kernels count columns in 32 bits.
constexpr int fewest_outputs = 512;
constexpr int most_columns = 1 << 20;

// The tensor cores of older GPUs lack bf16, and these GPUs cannot copy in the background.
bool has_kernels() {
  static const bool has = [] {
    if (!has_cuda()) {
      return false;
    }
    const auto info = mx::device_info(mx::Device::gpu);
    const auto major = info.find("compute_capability_major");
    return major != info.end() && std::get<std::size_t>(major->second) >= 8;
  }();
  return has;
}

bool is_computed_here(mx::Stream stream) {
  return !on_cpu(stream) && has_kernels() && !differentiating() && !mapping() && !portable();
}

std::size_t rows_of(const mx::array& x) {
  return x.size() / static_cast<std::size_t>(x.shape(-1));
}

bool has_few_rows(const mx::array& x) {
  return has_16_bits(x.dtype()) && x.ndim() >= 2 && x.size() > 0 && rows_of(x) <= most_rows;
}

// Whether a matrix consists of the kernel's tiles.
bool fits(const mx::array& x, int outputs, int columns, int columns_of_tile) {
  return x.shape(-1) == columns && columns % columns_of_tile == 0 && columns <= most_columns &&
         outputs >= fewest_outputs;
}

// The matrix by rows whose transpose this is.
std::optional<mx::array> transposed(const mx::array& matrix) {
  if (matrix.ndim() != 2 || !is_operation(matrix, "Transpose") ||
      static_cast<const mx::Transpose&>(matrix.primitive()).state() != std::vector{1, 0}) {
    return std::nullopt;
  }
  return matrix.inputs().front();
}

// What multiplies a matrix: x, or the norm of x by the factors of its columns.
struct Factor {
  mx::array x;
  std::optional<mx::array> norm;
  float epsilon = 0;
};

// In f16 the product of x and the factors of its columns could be too large.
Factor factor_of(const mx::array& x) {
  if (x.dtype() != mx::bfloat16 || !is_operation(x, "RMSNorm")) {
    return {.x = x, .norm = std::nullopt};
  }
  const mx::array& normed = x.inputs()[0];
  const mx::array& factors = x.inputs()[1];
  if (normed.dtype() != x.dtype() || factors.dtype() != x.dtype() || factors.ndim() != 1) {
    return {.x = x, .norm = std::nullopt};
  }
  return {.x = normed, .norm = factors, .epsilon = static_cast<const mx::fast::RMSNorm&>(x.primitive()).state().second};
}

std::optional<mx::array> computed_by(const SkinnyForm& form, mx::Shape shape, std::vector<mx::array> inputs,
                                     mx::Stream stream) {
  std::shared_ptr<mx::Primitive> operation = skinny_operation(form, inputs, shape, stream);
  if (operation == nullptr) {
    return std::nullopt;
  }
  const mx::Dtype type = inputs.front().dtype();
  return mx::array(std::move(shape), type, std::move(operation), std::move(inputs));
}

std::optional<mx::array> product(const mx::array& x, std::vector<mx::array> matrix, int group_size, mx::Stream stream) {
  const Factor factor = factor_of(x);
  const int outputs = matrix.front().shape(0);
  const SkinnyForm form{.group_size = group_size,
                        .type = x.dtype().val(),
                        .rows = static_cast<int>(rows_of(x)),
                        .outputs = outputs,
                        .columns = x.shape(-1),
                        .stream = stream.index,
                        .normed = factor.norm.has_value(),
                        .epsilon = factor.epsilon};
  std::vector<mx::array> inputs = std::move(matrix);
  inputs.insert(inputs.begin(), factor.x);
  inputs.push_back(factor.norm.value_or(factor.x));
  inputs.push_back(factor.x);
  mx::Shape shape = x.shape();
  shape.back() = outputs;
  return computed_by(form, std::move(shape), std::move(inputs), stream);
}

std::optional<mx::array> sum(const mx::array& product, const mx::array& addend, mx::Stream stream) {
  if (!is_unscheduled(product) || !product.has_primitive() || addend.shape() != product.shape() ||
      addend.dtype() != product.dtype() || product.primitive().stream() != stream) {
    return std::nullopt;
  }
  auto form = skinny_form(product.primitive());
  if (!form || form->added) {
    return std::nullopt;
  }
  form->added = true;
  std::vector<mx::array> inputs = product.inputs();
  inputs.back() = addend;
  return computed_by(*form, product.shape(), std::move(inputs), stream);
}

}  // namespace

std::optional<mx::array> skinny_product(const mx::array& x, const mx::array& matrix, mx::Stream stream) {
  constexpr int columns_of_tile = 64;
  if (!is_computed_here(stream) || !has_few_rows(x) || matrix.dtype() != x.dtype()) {
    return std::nullopt;
  }
  auto rows = transposed(matrix);
  if (!rows || !fits(x, rows->shape(0), rows->shape(1), columns_of_tile)) {
    return std::nullopt;
  }
  return product(x, {*std::move(rows)}, SkinnyForm::not_packed, stream);
}

std::optional<mx::array> skinny_product(const mx::array& x, const PackedMatrix& matrix, mx::Stream stream) {
  constexpr int columns_of_tile = 256;
  constexpr int packed_bits = 4;
  constexpr int elements_of_word = 8;
  constexpr int elements_of_threads = 32;
  if (!is_computed_here(stream) || !has_few_rows(x) || matrix.bits != packed_bits ||
      matrix.group_size % elements_of_threads != 0 || matrix.words.ndim() != 2 || matrix.scales.dtype() != x.dtype() ||
      matrix.biases.dtype() != x.dtype()) {
    return std::nullopt;
  }
  const int outputs = matrix.words.shape(0);
  const int columns = matrix.words.shape(1) * elements_of_word;
  const mx::Shape of_groups{outputs, columns / matrix.group_size};
  if (!fits(x, outputs, columns, columns_of_tile) || matrix.scales.shape() != of_groups ||
      matrix.biases.shape() != of_groups) {
    return std::nullopt;
  }
  return product(x, {matrix.words, matrix.scales, matrix.biases}, matrix.group_size, stream);
}

std::optional<mx::array> sum_with_skinny_product(const mx::array& a, const mx::array& b, mx::Stream stream) {
  if (!is_computed_here(stream)) {
    return std::nullopt;
  }
  auto made = sum(b, a, stream);
  return made ? std::move(made) : sum(a, b, stream);
}

}  // namespace mlx_nif
