// Programs written by hand, as a recording would make them, and calls of these.
#include "sanitizers/recorded.hpp"

#include "core/evaluation/evaluation.hpp"
#include "core/handles/expression.hpp"
#include "core/recording/tape.hpp"

namespace mlx_nif::stress {
namespace {

class Product final : public Instruction {
 public:
  InstructionTraits traits() const override { return {}; }
  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    results.push_back(apply(mlx_multiply, inputs[0], inputs[1], Streams::instance().default_stream()));
  }
};

class Sum final : public Instruction {
 public:
  InstructionTraits traits() const override { return {}; }
  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    results.push_back(apply(mlx_add, inputs[0], inputs[1], Streams::instance().default_stream()));
  }
};

class Less final : public Instruction {
 public:
  InstructionTraits traits() const override { return {}; }
  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    results.push_back(apply(mlx_less, inputs[0], inputs[1], Streams::instance().default_stream()));
  }
};

class GivesBack final : public Host {
 public:
  std::vector<ArrayHandle> call(std::uint64_t, std::vector<ArrayHandle> arrays) override { return arrays; }
  void check_wanted() const override {}
};

Program::Parts no_steps() {
  Program::Parts parts;
  parts.name = "stress";
  return parts;
}

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
  Program::Parts parts = no_steps();
  parts.inputs = {0, 1};
  parts.steps = {{product, {0, 0}, 2, 1}, {product, {2, 1}, 3, 1}};
  parts.outputs = {3};
  parts.register_count = 4;
  return std::make_shared<const Program>(std::move(parts));
}

std::shared_ptr<const Program> chain(int length) {
  const std::shared_ptr<const Instruction> operations[] = {std::make_shared<const Product>(),
                                                           std::make_shared<const Sum>()};
  Program::Parts parts = no_steps();
  parts.inputs = {0, 1};
  Register last = 0;
  for (int number = 0; number < length; ++number) {
    const Register next = 2 + static_cast<Register>(number);
    parts.steps.push_back({operations[number % 2], {last, 1}, next, 1});
    last = next;
  }
  parts.outputs = {last};
  parts.register_count = static_cast<std::size_t>(length) + 2;
  return std::make_shared<const Program>(std::move(parts));
}

float chained(int length, float x, float y) {
  for (int number = 0; number < length; ++number) {
    x = number % 2 == 0 ? x * y : x + y;
  }
  return x;
}

std::vector<Reference> run_recorded(const Instruction& instruction, std::initializer_list<Reference> arrays) {
  return build_all(arrays, [&](mlx_stream) {
    std::vector<ArrayHandle> results;
    instruction.run(handles(arrays), results);
    return results;
  });
}

std::shared_ptr<const Instruction> sum_up(float limit) {
  Program::Parts condition = no_steps();
  condition.inputs = {0, 1};
  condition.constants.emplace_back(2, ArrayHandle(mlx_array_new_float32(limit)));
  condition.steps = {{std::make_shared<const Less>(), {0, 2}, 3, 1}};
  condition.outputs = {3};
  condition.register_count = 4;
  Program::Parts body = no_steps();
  body.inputs = {0, 1};
  body.steps = {{std::make_shared<const Sum>(), {0, 1}, 2, 1},
                {control_flow::host_call(0, {{{}, MLX_FLOAT32}}), {2}, 3, 1}};
  body.outputs = {3, 1};
  body.register_count = 4;
  return control_flow::loop(std::make_shared<const Program>(std::move(condition)),
                            std::make_shared<const Program>(std::move(body)), 2);
}

std::vector<Reference> execute(const Instruction& instruction, std::initializer_list<Reference> arrays) {
  operations.fetch_add(1, std::memory_order_relaxed);
  const Operands operands(arrays);
  evaluate(operands.all(), Waiting::unlimited);
  GivesBack host;
  std::vector<Reference> results;
  for (ArrayHandle& handle : host.run(instruction, handles(arrays))) {
    results.push_back(evaluated(std::move(handle)));
  }
  return results;
}

std::shared_ptr<const Instruction> written_and_read(const std::string& path, const Reference& added) {
  Program::Parts parts = no_steps();
  parts.inputs = {0, 1};
  parts.steps = {{std::make_shared<const Sum>(), {0, 1}, 2, 1}};
  parts.outputs = {2};
  parts.register_count = 3;
  const Reference example = value(0);
  const ExampleCall call{.program = std::make_shared<const Program>(std::move(parts)),
                         .inputs = {example->get()},
                         .keywords = {},
                         .captured = {added->get()}};
  export_functions(path, {&call, 1}, false, "");
  return imported_call(std::make_shared<ImportedFunction>(path), 1, {});
}

}  // namespace mlx_nif::stress
