// Makes nodes that MLX transforms by rules, and keeps what they are made of from it while it does.
#include "core/recording/ruled_operation.hpp"

#include <mlx/primitives.h>
#include <mlx/transforms_impl.h>

#include <algorithm>
#include <format>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "core/handles/mlx_objects.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

bool is_double(const mx::array& array) {
  return array.dtype() == mx::float64;
}

// Where a node with such inputs and results belongs: no GPU has f64.
mx::Stream stream_for(const MlxArrays& inputs, const MlxArrays& results) {
  if (std::ranges::any_of(inputs, is_double) || std::ranges::any_of(results, is_double)) {
    return stream_of(Streams::instance().default_stream(MLX_FLOAT64));
  }
  return own_stream(results[0]);
}

class RuledOperation final : public mx::Primitive {
 public:
  RuledOperation(mx::Stream stream, MlxFunction operation, TransformRules rules, std::size_t input_count,
                 std::size_t result_count)
      : Primitive(std::move(stream)),
        operation_(std::move(operation)),
        rules_(std::move(rules)),
        input_count_(input_count),
        result_count_(result_count) {}

  // The last inputs are what the operation gave.
  void eval_cpu(const MlxArrays& inputs, MlxArrays& results) override {
    if (inputs.size() != input_count_ + results.size()) {
      throw Error("an array was computed before the transform that it belongs to has ended");
    }
    const auto given = inputs.end() - static_cast<std::ptrdiff_t>(results.size());
    for (std::size_t index = 0; index < results.size(); ++index) {
      results[index].copy_shared_buffer(given[static_cast<std::ptrdiff_t>(index)]);
    }
  }
  void eval_gpu(const MlxArrays& inputs, MlxArrays& results) override { eval_cpu(inputs, results); }

  MlxArrays vjp(const MlxArrays& primals, const MlxArrays& cotangents, const std::vector<int>& numbers,
                const MlxArrays& results) override {
    if (!rules_.vjp) {
      const MlxArrays from = rules_.computed_anew_of ? rules_.computed_anew_of(primals, results) : primals;
      // MLX may have no derivative for the other primals.
      return mx::vjp(of_some_primals(operation_, from, numbers), picked(from, numbers), cotangents).second;
    }
    return picked(rules_.vjp(primals, cotangents, results), numbers);
  }

  // MLX gives tangents only for some of the primals; for the rule, the tangents of the others are zero.
  MlxArrays jvp(const MlxArrays& primals, const MlxArrays& tangents, const std::vector<int>& numbers) override {
    if (!rules_.jvp) {
      return mx::jvp(of_some_primals(operation_, primals, numbers), picked(primals, numbers), tangents).second;
    }
    MlxArrays all;
    for (std::size_t index = 0; index < primals.size(); ++index) {
      const auto found = std::ranges::find(numbers, static_cast<int>(index));
      all.push_back(found == numbers.end() ? mx::zeros_like(primals[index], stream())
                                           : tangents[static_cast<std::size_t>(found - numbers.begin())]);
    }
    return rules_.jvp(primals, all);
  }

  TransformRules::Mapped vmap(const MlxArrays& inputs, const std::vector<int>& axes) override {
    if (rules_.vmap) {
      return rules_.vmap(inputs, axes);
    }
    std::vector<int> result_axes(result_count_, 0);
    MlxArrays results = map_over_axes(operation_, inputs, axes, result_axes);
    return {std::move(results), std::move(result_axes)};
  }

  const char* name() const override { return "RuledOperation"; }

 private:
  static MlxArrays picked(const MlxArrays& all, const std::vector<int>& numbers) {
    MlxArrays some;
    std::ranges::transform(numbers, std::back_inserter(some), [&](int number) { return all.at(number); });
    return some;
  }

  const MlxFunction operation_;
  const TransformRules rules_;
  const std::size_t input_count_;
  const std::size_t result_count_;
};

// The results of an operation as nodes, and what it gave.
struct Hidden {
  MlxArrays nodes;
  MlxArrays given;
};

thread_local int scopes = 0;
thread_local std::vector<Hidden> all_hidden;

// Takes a result to its place in the result of a map. A second input has nothing but the mapped axis, so that MLX maps
// also what depends on nothing that is mapped.
class MappedResult final : public mx::Primitive {
 public:
  MappedResult(mx::Stream stream, int axis) : Primitive(std::move(stream)), axis_(axis) {}

  void eval_cpu(const MlxArrays&, MlxArrays&) override { throw Error("a mapped result was not mapped"); }
  void eval_gpu(const MlxArrays& inputs, MlxArrays& results) override { eval_cpu(inputs, results); }

  TransformRules::Mapped vmap(const MlxArrays& inputs, const std::vector<int>& axes) override {
    return {{axes[0] == -1 ? repeated(inputs[0], inputs[1].shape(axes[1]))
                           : mx::moveaxis(inputs[0], axes[0], axis_, stream())},
            {axis_}};
  }

  const char* name() const override { return "MappedResult"; }

 private:
  mx::array repeated(const mx::array& result, int size) {
    return mx::repeat(mx::expand_dims(result, axis_, stream()), size, axis_, stream());
  }

  const int axis_;
};

mx::array mapped_result(const mx::array& result, const mx::array& of_axis, int axis) {
  auto place = std::make_shared<MappedResult>(stream_for({}, {result}), axis);
  return {result.shape(), result.dtype(), std::move(place), {result, of_axis}};
}

// An array that is never computed.
mx::array valueless(mx::Shape shape) {
  return {std::move(shape), mx::bool_, nullptr, {}};
}

void throw_without_map(const std::exception& error) {
  constexpr std::string_view words = "[Primitive::vmap] Not implemented for ";
  const std::string_view message = error.what();
  if (message.starts_with(words)) {
    throw Error(
        std::format("MLX cannot map its operation {} over an axis; a function that uses it can be mapped with "
                    "a rule, the option :vmap of Mlx.custom_function",
                    message.substr(words.size(), message.find('.', words.size()) - words.size())));
  }
}

}  // namespace

MlxArrays ruled(const MlxFunction& operation, const MlxArrays& inputs, const TransformRules& rules) {
  MlxArrays given = operation(inputs);
  if (scopes == 0 || given.empty()) {
    return given;
  }
  std::vector<mx::Shape> shapes;
  std::vector<mx::Dtype> types;
  for (const mx::array& result : given) {
    shapes.push_back(result.shape());
    types.push_back(result.dtype());
  }
  const auto primitive =
      std::make_shared<RuledOperation>(stream_for(inputs, given), operation, rules, inputs.size(), given.size());
  MlxArrays nodes = mx::array::make_arrays(std::move(shapes), types, primitive, inputs);
  all_hidden.push_back({nodes, std::move(given)});
  return nodes;
}

TransformScope::TransformScope() {
  ++scopes;
}

TransformScope::~TransformScope() {
  if (--scopes > 0) {
    return;
  }
  for (auto& [nodes, given] : std::exchange(all_hidden, {})) {
    for (mx::array& node : nodes) {
      node.inputs().insert(node.inputs().end(), given.begin(), given.end());
    }
  }
}

MlxArrays hidden_inputs(const mx::array& array) {
  const auto makes = [&array](const Hidden& hidden) {
    return std::ranges::any_of(hidden.nodes, [&array](const mx::array& node) { return node.id() == array.id(); });
  };
  const auto found = std::ranges::find_if(all_hidden, makes);
  return found == all_hidden.end() ? MlxArrays() : found->given;
}

MlxFunction of_some_primals(MlxFunction operation, MlxArrays primals, std::vector<int> numbers) {
  return [operation = std::move(operation), primals = std::move(primals),
          numbers = std::move(numbers)](const MlxArrays& some) {
    MlxArrays all = primals;
    for (std::size_t index = 0; index < numbers.size(); ++index) {
      all[static_cast<std::size_t>(numbers[index])] = some[index];
    }
    return operation(all);
  };
}

int mapped_size(const MlxArrays& inputs, const std::vector<int>& axes) {
  const auto mapped = std::ranges::find_if(axes, [](int axis) { return axis >= 0; });
  return inputs.at(static_cast<std::size_t>(mapped - axes.begin())).shape(*mapped);
}

mx::Stream own_stream(const mx::array& array) {
  return array.has_primitive()
             ? array.primitive().stream()
             : stream_of(Streams::instance().default_stream(is_double(array) ? MLX_FLOAT64 : MLX_FLOAT32));
}

mx::array on_a_stream(const mx::array& array) {
  return is_double(array) && !array.has_primitive() ? mx::copy(array, own_stream(array)) : array;
}

MlxArrays map_over_axes(const MlxFunction& function, const MlxArrays& inputs, const std::vector<int>& axes,
                        const std::vector<int>& result_axes) {
  MlxArrays all = inputs;
  all.push_back(valueless({mapped_size(inputs, axes)}));
  std::vector<int> all_axes = axes;
  all_axes.push_back(0);
  const auto placed = [&](const MlxArrays& slices) {
    MlxArrays results = function({slices.begin(), slices.end() - 1});
    for (std::size_t index = 0; index < results.size(); ++index) {
      results[index] = mapped_result(results[index], slices.back(), result_axes.at(index));
    }
    return results;
  };
  const auto [slices, results] = mx::detail::vmap_trace(placed, all, all_axes);
  try {
    return mx::detail::vmap_replace(all, slices, results, all_axes, result_axes);
  } catch (const std::runtime_error& error) {
    throw_without_map(error);
    throw;
  }
}

}  // namespace mlx_nif
