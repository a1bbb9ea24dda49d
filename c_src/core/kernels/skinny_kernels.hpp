// The operations of MLX that run the kernels of products of a few rows.
#pragma once

#include <compare>
#include <memory>
#include <optional>
#include <vector>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

// What decides about an operation.
struct SkinnyForm {
  static constexpr int not_packed = 0;

  // How many elements of the matrix have one scale.
  int group_size;
  mlx::core::Dtype::Val type;
  int rows;
  int outputs;
  int columns;
  int stream;
  // The factor is the RMS norm of x.
  bool normed = false;
  float epsilon = 0;
  // Something is added to the product.
  bool added = false;

  auto operator<=>(const SkinnyForm&) const = default;

  bool is_packed() const { return group_size != not_packed; }
};

// The operation for x and w {outputs, columns}, or w {outputs, words}, scales and biases; and the factors of a norm and
// what is added, or anything for those that there are not. Null where the kernel cannot be compiled.
std::shared_ptr<mlx::core::Primitive> skinny_operation(const SkinnyForm& form,
                                                       const std::vector<mlx::core::array>& inputs,
                                                       const mlx::core::Shape& shape, mlx::core::Stream);

// The form of an operation that is in use; nothing for others.
std::optional<SkinnyForm> skinny_form(const mlx::core::Primitive& operation);

}  // namespace mlx_nif
