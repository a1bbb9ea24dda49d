#include "sanitizers/recorded.hpp"

#include "core/expression.hpp"
#include "core/tape.hpp"

namespace mlx_nif::stress {
namespace {

class Product final : public Instruction {
 public:
  InstructionTraits traits() const override { return {}; }
  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    results.push_back(apply(mlx_multiply, inputs[0], inputs[1], Streams::instance().default_stream()));
  }
};

std::vector<mlx_array> handles(std::initializer_list<Reference> arrays) {
  std::vector<mlx_array> result;
  for (const Reference& array : arrays) {
    result.push_back(array->get());
  }
  return result;
}

}  // namespace

std::shared_ptr<const Program> square_times() {
  const auto product = std::make_shared<const Product>();
  Program::Parts parts{.name = "stress"};
  parts.inputs = {0, 1};
  parts.steps = {{product, {0, 0}, 2, 1}, {product, {2, 1}, 3, 1}};
  parts.outputs = {3};
  parts.register_count = 4;
  return std::make_shared<const Program>(std::move(parts));
}

std::vector<Reference> run_recorded(const Instruction& instruction, std::initializer_list<Reference> arrays) {
  return build_all(arrays, [&](mlx_stream) {
    std::vector<ArrayHandle> results;
    instruction.run(handles(arrays), results);
    return results;
  });
}

}  // namespace mlx_nif::stress
