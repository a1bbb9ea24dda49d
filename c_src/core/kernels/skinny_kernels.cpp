// Keeps MLX's operation for each form: to make one takes longer than to compute a small product.
#include "core/kernels/skinny_kernels.hpp"

#include <mlx/fast.h>
#include <mlx/primitives.h>

#include <bit>
#include <cstddef>
#include <format>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/kernels/kept_kernels.hpp"
#include "core/kernels/skinny_product_source.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// All are forgotten when there are more.
constexpr std::size_t most_operations = 1024;

// Of a block, as in the source.
constexpr int warps = 4;
constexpr int outputs_of_block = 16;

// Several numbers of rows have one kernel.
int rows_of_kernel(const SkinnyForm& form) {
  return static_cast<int>(std::bit_ceil(static_cast<unsigned>(form.rows)));
}

// Bytes for all tiles of a block, as in the source.
int shared_memory(const SkinnyForm& form) {
  constexpr int bytes_of_unit = 16;
  constexpr int tile = 128;
  const int rows = rows_of_kernel(form) + static_cast<int>(form.normed);
  const int units = form.is_packed() ? 3 * (tile + 32 * rows + 4 * (256 / form.group_size)) : 4 * (tile + 8 * rows);
  return warps * units * bytes_of_unit;
}

std::optional<CompiledKernel> kernel_of(const SkinnyForm& form) {
  const std::string source =
      std::format(
          "constexpr bool is_half = {}, is_normed = {}, is_added = {};\n"
          "constexpr int most_rows = {}, group_size = {};\n",
          form.type == mx::Dtype::Val::float16, form.normed, form.added, rows_of_kernel(form), form.group_size) +
      skinny_product_functions;
  return form.is_packed() ? kept_kernel("skinny_quantized_product", source + skinny_quantized_product_kernel)
                          : kept_kernel("skinny_product", source + skinny_product_kernel);
}

std::shared_ptr<mx::Primitive> make_operation(const SkinnyForm& form, const std::vector<mx::array>& inputs,
                                              const mx::Shape& shape, mx::Stream stream) {
  const auto kernel = kernel_of(form);
  if (!kernel) {
    return nullptr;
  }
  const int blocks = (form.outputs + outputs_of_block - 1) / outputs_of_block;
  return mx::fast::precompiled_cuda_kernel(kernel->name, kernel->code, inputs, {shape}, {inputs.front().dtype()},
                                           {form.rows, form.outputs, form.columns, form.epsilon},
                                           {32 * blocks, warps, 1}, {32, warps, 1}, shared_memory(form), std::nullopt,
                                           true, stream)
      .front()
      .primitive_ptr();
}

class Operations {
 public:
  static Operations& instance() {
    // Never destroyed: graphs hold its operations until the process ends.
    static Operations* const operations = new Operations;
    return *operations;
  }

  // Nobody waits for the compiler who needs another kernel.
  std::shared_ptr<mx::Primitive> get(const SkinnyForm& form, const std::vector<mx::array>& inputs,
                                     const mx::Shape& shape, mx::Stream stream) {
    if (const auto known = find(form)) {
      return *known;
    }
    return keep(form, make_operation(form, inputs, shape, stream));
  }

  std::optional<SkinnyForm> form_of(const mx::Primitive& operation) {
    const std::lock_guard lock(mutex_);
    const auto known = forms_.find(&operation);
    return known == forms_.end() ? std::nullopt : std::optional(known->second);
  }

 private:
  std::optional<std::shared_ptr<mx::Primitive>> find(const SkinnyForm& form) {
    const std::lock_guard lock(mutex_);
    const auto known = operations_.find(form);
    return known == operations_.end() ? std::nullopt : std::optional(known->second);
  }

  // What another thread has kept meanwhile stays.
  std::shared_ptr<mx::Primitive> keep(const SkinnyForm& form, std::shared_ptr<mx::Primitive> operation) {
    const std::lock_guard lock(mutex_);
    if (operations_.size() >= most_operations) {
      forms_.clear();
      operations_.clear();
    }
    const auto& kept = operations_.emplace(form, std::move(operation)).first->second;
    if (kept != nullptr) {
      forms_.emplace(kept.get(), form);
    }
    return kept;
  }

  std::mutex mutex_;
  // Null where the kernel cannot be compiled.
  std::map<SkinnyForm, std::shared_ptr<mx::Primitive>> operations_;
  std::unordered_map<const mx::Primitive*, SkinnyForm> forms_;
};

}  // namespace

std::shared_ptr<mx::Primitive> skinny_operation(const SkinnyForm& form, const std::vector<mx::array>& inputs,
                                                const mx::Shape& shape, mx::Stream stream) {
  return Operations::instance().get(form, inputs, shape, stream);
}

std::optional<SkinnyForm> skinny_form(const mx::Primitive& operation) {
  return std::string_view(operation.name()) == "CustomKernel" ? Operations::instance().form_of(operation)
                                                              : std::nullopt;
}

}  // namespace mlx_nif
