// Numbers that differ from one recording of a function to the next.
#pragma once

#include <mlx/mlx.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/transforms/graph_sources.hpp"

namespace mlx_nif {

// MLX writes the numbers of a compiled function into the source of its kernels: another number is another kernel, which
// takes the C++ compiler of the machine hundreds of milliseconds. A number that differed between two recordings is an
// input of the kernel instead, so that all later recordings share it. Each computes with its own numbers, whatever was
// recorded before.
class Numbers {
 public:
  using Pointer = std::shared_ptr<const Numbers>;

  // The numbers that a graph takes, one for each use, where those that differ from earlier recordings become inputs.
  // `formers`: the numbers of these, of which the first that has as many of the same types is compared.
  static Pointer make_inputs(const GraphSources& sources, std::span<const Pointer> formers);

 private:
  struct Number {
    mlx::core::Dtype::Val type;
    std::uint64_t bits;
    // Numbers that were equal in each recording have the same place.
    std::size_t place;
    bool changing;
  };

  explicit Numbers(const std::vector<GraphSources::NumberUse>& uses);
  bool resembles(const Numbers& other) const;
  void compare(const Numbers* former);

  std::vector<Number> numbers_;
};

// The number that an operation without inputs stands for, or null when it is another one.
const mlx::core::array* number_of(const mlx::core::Primitive& primitive);

}  // namespace mlx_nif
