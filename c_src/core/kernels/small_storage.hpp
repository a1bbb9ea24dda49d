// How the arrays of a fused kernel are stored.
#pragma once

#include <mlx/array.h>

#include <cstdint>
#include <vector>

namespace mlx_nif {

// MLX has one kernel for arrays whose elements lie in the order of their axes, and else one for each number of axes
// that are left when those are joined that can be. Equal for arrays that have the same kernel.
using StorageId = std::uint64_t;

StorageId storage_id(const std::vector<mlx::core::array>& inputs, const mlx::core::Shape& shape);

// Arrays that have the same kernel as others, and two elements along each axis where these have more.
class SmallStorage {
 public:
  SmallStorage(const std::vector<mlx::core::array>& inputs, const std::vector<mlx::core::array>& outputs);

  // Their elements are no zeros, by which a kernel may divide.
  std::vector<mlx::core::array> inputs() const;
  std::vector<mlx::core::array> outputs() const;

 private:
  struct Input {
    mlx::core::Shape shape;
    mlx::core::Strides strides;
    mlx::core::array::Flags flags;
    mlx::core::Dtype type;
  };

  std::vector<Input> inputs_;
  mlx::core::Shape shape_;
  std::vector<mlx::core::Dtype> types_;
};

}  // namespace mlx_nif
