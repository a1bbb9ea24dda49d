// Compares the numbers that a graph takes with those of earlier recordings, and replaces some by inputs.
#include "core/transforms/changing_numbers.hpp"

#include <mlx/primitives.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <typeinfo>
#include <unordered_map>
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

// MLX writes it into the source of a kernel as the integer -0, which is 0.
bool is_negative_zero(mx::Dtype::Val type, std::uint64_t bits) {
  switch (type) {
    case mx::Dtype::Val::float16:
    case mx::Dtype::Val::bfloat16:
      return bits == std::uint64_t{1} << 15;
    case mx::Dtype::Val::float32:
      return bits == std::uint64_t{1} << 31;
    case mx::Dtype::Val::float64:
      return bits == std::uint64_t{1} << 63;
    default:
      return false;
  }
}

}  // namespace

Numbers::Pointer Numbers::make_inputs(const GraphSources& sources, std::span<const Pointer> formers) {
  const std::vector<GraphSources::NumberUse>& uses = sources.numbers();
  Numbers numbers(uses);
  const auto former =
      std::ranges::find_if(formers, [&](const Pointer& other) { return other && numbers.resembles(*other); });
  numbers.compare(former == formers.end() ? nullptr : former->get());
  std::unordered_map<std::size_t, mx::array> inputs;
  for (std::size_t index = 0; index < uses.size(); ++index) {
    const auto [type, bits, place, changing] = numbers.numbers_[index];
    if (changing) {
      auto input = inputs.find(place);
      if (input == inputs.end()) {
        input = inputs.emplace(place, make_input(*uses[index].input, uses[index].operation->stream())).first;
      }
      *uses[index].input = input->second;
    }
  }
  return std::make_shared<const Numbers>(std::move(numbers));
}

Numbers::Numbers(const std::vector<GraphSources::NumberUse>& uses) {
  numbers_.reserve(uses.size());
  for (const GraphSources::NumberUse& use : uses) {
    numbers_.push_back({.type = use.input->dtype().val(), .bits = use.bits, .place = 0, .changing = false});
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
    number.changing = is_negative_zero(number.type, number.bits);
    if (former != nullptr) {
      const Number& before = former->numbers_[index];
      former_place = before.place;
      number.changing |= before.changing || before.bits != number.bits;
    }
    number.place = places.try_emplace({former_place, number.type, number.bits}, index).first->second;
  }
}

const mx::array* number_of(const mx::Primitive& primitive) {
  return typeid(primitive) == typeid(NumberInput) ? &static_cast<const NumberInput&>(primitive).value() : nullptr;
}

}  // namespace mlx_nif
