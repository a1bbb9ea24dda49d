// Where the operations of a graph take what is computed of no array.
#pragma once

#include <mlx/primitives.h>

#include <cstdint>
#include <vector>

namespace mlx_nif {

// Numbers, ranges, and arrays of one number. What this holds is valid as long as the operations of the graph are, and
// what it points to may be replaced.
class GraphSources {
 public:
  struct Use {
    mlx::core::Primitive* operation;
    mlx::core::array* input;
  };
  struct NumberUse : Use {
    std::uint64_t bits;
  };

  explicit GraphSources(std::vector<mlx::core::array>& outputs);

  // In an order that only depends on the operations.
  const std::vector<NumberUse>& numbers() const { return numbers_; }
  const std::vector<Use>& ranges() const { return ranges_; }
  // Numbers in the shape of an array.
  const std::vector<Use>& repeated_numbers() const { return repeated_numbers_; }

 private:
  void take_inputs(mlx::core::array& result);

  std::vector<NumberUse> numbers_;
  std::vector<Use> ranges_;
  std::vector<Use> repeated_numbers_;
};

}  // namespace mlx_nif
