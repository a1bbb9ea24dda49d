// Finds the numbers that a graph takes, compares them with those of earlier recordings, and replaces some by inputs.
#include "core/transforms/changing_numbers.hpp"

#include <mlx/primitives.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// MLX takes what has no primitive for a constant.
class NumberInput final : public mx::Primitive {
 public:
  NumberInput(mx::Stream stream, mx::array value) : Primitive(stream), value_(std::move(value)) {}

  const mx::array& value() const { return value_; }

  void eval_cpu(const std::vector<mx::array>&, std::vector<mx::array>& outputs) override {
    outputs[0].copy_shared_buffer(value_);
  }
  void eval_gpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    eval_cpu(inputs, outputs);
  }
  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>&) override { return {value_.shape()}; }
  const char* name() const override { return "Number"; }

 private:
  const mx::array value_;
};

mx::array make_input(const mx::array& number, const mx::Stream& stream) {
  return {number.shape(), number.dtype(), std::make_shared<NumberInput>(stream, number), {}};
}

bool is_number(const mx::array& array) {
  return array.ndim() == 0 && !array.has_primitive() && !array.is_tracer() && array.is_available();
}

std::uint64_t bits_of(const mx::array& number) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, number.data<std::byte>(), number.nbytes());
  return bits;
}

// Where the nodes of a graph take numbers, in an order that only depends on the nodes.
class Uses {
 public:
  explicit Uses(const std::vector<mx::array>& outputs) : open_(outputs.rbegin(), outputs.rend()) {
    while (!open_.empty()) {
      const mx::array array = std::move(open_.back());
      open_.pop_back();
      if (array.has_primitive() && !seen_.contains(array.id())) {
        visit(array.outputs());
      }
    }
  }

  const std::vector<mx::array>& numbers() const { return numbers_; }

  // Puts `replacement(number, stream)` in place of each number for which `wanted(number)`.
  template <typename Wanted, typename Replacement>
  void replace(const Wanted& wanted, const Replacement& replacement) {
    for (auto& [node, input, number] : uses_) {
      if (wanted(number)) {
        node.inputs()[input] = replacement(number, node.primitive().stream());
      }
    }
  }

 private:
  struct Use {
    mx::array node;
    std::size_t input;
    std::size_t number;
  };

  // Each result of an operation has a list of its inputs.
  void visit(const std::vector<mx::array>& results) {
    const std::vector<mx::array>& inputs = results[0].inputs();
    for (const mx::array& result : results) {
      seen_.insert(result.id());
    }
    for (std::size_t input = 0; input < inputs.size(); ++input) {
      if (!is_number(inputs[input])) {
        open_.push_back(inputs[input]);
        continue;
      }
      const std::size_t number = places_.try_emplace(inputs[input].id(), numbers_.size()).first->second;
      if (number == numbers_.size()) {
        numbers_.push_back(inputs[input]);
      }
      for (const mx::array& result : results) {
        uses_.push_back({result, input, number});
      }
    }
  }

  std::vector<mx::array> open_;
  std::unordered_set<std::uintptr_t> seen_;
  std::unordered_map<std::uintptr_t, std::size_t> places_;
  std::vector<mx::array> numbers_;
  std::vector<Use> uses_;
};

}  // namespace

Numbers::Pointer Numbers::make_inputs(const std::vector<mx::array>& outputs, std::span<const Pointer> formers) {
  Uses uses(outputs);
  Numbers numbers(uses.numbers());
  const auto former =
      std::ranges::find_if(formers, [&](const Pointer& other) { return other && numbers.resembles(*other); });
  numbers.compare(former == formers.end() ? nullptr : former->get());
  std::map<std::size_t, mx::array> inputs;
  uses.replace([&](std::size_t number) { return numbers.numbers_[number].changing; },
               [&](std::size_t number, const mx::Stream& stream) {
                 const std::size_t place = numbers.numbers_[number].place;
                 auto input = inputs.find(place);
                 if (input == inputs.end()) {
                   input = inputs.emplace(place, make_input(uses.numbers()[place], stream)).first;
                 }
                 return input->second;
               });
  return std::make_shared<const Numbers>(std::move(numbers));
}

Numbers::Numbers(std::span<const mx::array> numbers) {
  for (const mx::array& number : numbers) {
    numbers_.push_back({.type = number.dtype().val(), .bits = bits_of(number), .place = 0, .changing = false});
  }
}

bool Numbers::resembles(const Numbers& other) const {
  return std::ranges::equal(numbers_, other.numbers_, {}, &Number::type, &Number::type);
}

void Numbers::compare(const Numbers* former) {
  std::map<std::tuple<std::size_t, mx::Dtype::Val, std::uint64_t>, std::size_t> places;
  for (std::size_t index = 0; index < numbers_.size(); ++index) {
    Number& number = numbers_[index];
    std::size_t former_place = 0;
    if (former != nullptr) {
      const Number& before = former->numbers_[index];
      former_place = before.place;
      number.changing = before.changing || before.bits != number.bits;
    }
    number.place = places.try_emplace({former_place, number.type, number.bits}, index).first->second;
  }
}

const mx::array* number_of(const mx::Primitive& primitive) {
  const auto* number = dynamic_cast<const NumberInput*>(&primitive);
  return number == nullptr ? nullptr : &number->value();
}

}  // namespace mlx_nif
