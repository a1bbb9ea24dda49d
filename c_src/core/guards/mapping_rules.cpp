// Moves a mapped axis in front, or runs an operation for each slice.
#include "core/guards/mapping_rules.hpp"

#include <algorithm>
#include <iterator>

#include "core/handles/mlx_objects.hpp"
#include "core/recording/ruled_operation.hpp"

namespace mlx_nif::detail {
namespace {

namespace mx = mlx::core;

using Mapped = TransformRules::Mapped;

bool only_mapped(const std::vector<int>& axes, std::size_t input) {
  const auto mapped = std::ranges::count_if(axes, [](int axis) { return axis >= 0; });
  return mapped == 1 && axes.at(input) >= 0;
}

Mapped all_in_front(MlxArrays results) {
  std::vector<int> axes(results.size(), 0);
  return {std::move(results), std::move(axes)};
}

// The slices at a place; what is not mapped is the same in all of them.
MlxArrays slices_at(int place, const MlxArrays& inputs, const std::vector<int>& axes, const mx::Stream& stream) {
  MlxArrays slices;
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    const mx::array& input = inputs[index];
    slices.push_back(axes[index] < 0 ? input : mx::take(input, place, axes[index], stream));
  }
  return slices;
}

Mapped by_slices(const MlxFunction& operation, const MlxArrays& inputs, const std::vector<int>& axes,
                 const mx::Stream& stream) {
  std::vector<MlxArrays> slices_of_results;
  for (int place = 0; place < mapped_size(inputs, axes); ++place) {
    MlxArrays results = operation(slices_at(place, inputs, axes, stream));
    slices_of_results.resize(results.size());
    for (std::size_t index = 0; index < results.size(); ++index) {
      slices_of_results[index].push_back(std::move(results[index]));
    }
  }
  MlxArrays stacked;
  for (const MlxArrays& slices : slices_of_results) {
    stacked.push_back(mx::stack(slices, 0, stream));
  }
  return all_in_front(std::move(stacked));
}

// Of no slices only the shapes and types of the results are known: from those of one slice of zeros, which is left out.
Mapped of_no_slices(const MlxFunction& operation, MlxArrays inputs, const std::vector<int>& axes,
                    const mx::Stream& stream) {
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    if (axes[index] >= 0) {
      mx::Shape shape = inputs[index].shape();
      shape[static_cast<std::size_t>(axes[index])] = 1;
      inputs[index] = mx::zeros(shape, inputs[index].dtype(), stream);
    }
  }
  Mapped one = by_slices(operation, inputs, axes, stream);
  for (mx::array& result : one.first) {
    mx::Shape shape = result.shape();
    shape[0] = 0;
    result = mx::zeros(shape, result.dtype(), stream);
  }
  return one;
}

Mapped map(const MappingRule& rule, const MlxFunction& operation, MlxArrays inputs, const std::vector<int>& axes,
           const mx::Stream& stream) {
  if (mapped_size(inputs, axes) == 0) {
    return of_no_slices(operation, std::move(inputs), axes, stream);
  }
  if (rule.kind == MappingRule::Kind::in_front && only_mapped(axes, rule.input)) {
    mx::array& input = inputs[rule.input];
    input = mx::moveaxis(input, axes[rule.input], 0, stream);
    return all_in_front(operation(inputs));
  }
  return by_slices(operation, inputs, axes, stream);
}

// A function that is differentiated for the primals with fractions, over primals and cotangents.
MlxFunction derivative_of(const MlxFunction& operation, std::size_t primal_count) {
  return [operation, primal_count](const MlxArrays& all) {
    const auto end = all.begin() + static_cast<std::ptrdiff_t>(primal_count);
    MlxArrays primals(all.begin(), end);
    std::vector<int> numbers;
    MlxArrays some;
    for (std::size_t number = 0; number < primal_count; ++number) {
      if (mx::issubdtype(primals[number].dtype(), mx::inexact)) {
        numbers.push_back(static_cast<int>(number));
        some.push_back(primals[number]);
      }
    }
    const MlxArrays found = mx::vjp(of_some_primals(operation, primals, numbers), some, {end, all.end()}).second;
    MlxArrays cotangents;
    std::ranges::transform(primals, std::back_inserter(cotangents),
                           [](const mx::array& primal) { return mx::zeros_like(primal, own_stream(primal)); });
    for (std::size_t index = 0; index < numbers.size(); ++index) {
      cotangents[static_cast<std::size_t>(numbers[index])] = found[index];
    }
    return cotangents;
  };
}

// The operation as one with the rule, also where a rule runs it: its result may be mapped once more.
MlxFunction mappable(MappingRule rule, const MlxFunction& operation, std::size_t result_count,
                     const mx::Stream& stream) {
  return [=](const MlxArrays& inputs) {
    TransformRules rules;
    rules.vmap = [=](const MlxArrays& given, const std::vector<int>& axes) {
      if (rule.kind != MappingRule::Kind::natively || axes.at(rule.input) >= 0) {
        return map(rule, mappable(rule, operation, result_count, stream), given, axes, stream);
      }
      const MlxFunction mapped = [=](const MlxArrays& arrays) {
        return map_over_axes(operation, arrays, axes, std::vector<int>(result_count, 0));
      };
      return all_in_front(mappable(rule, mapped, result_count, stream)(given));
    };
    // The input that MLX cannot map by is one of its derivative's, too.
    if (rule.kind == MappingRule::Kind::natively) {
      rules.vjp = [=](const MlxArrays& primals, const MlxArrays& cotangents, const MlxArrays&) {
        MlxArrays all = primals;
        all.insert(all.end(), cotangents.begin(), cotangents.end());
        return mappable(rule, derivative_of(operation, primals.size()), primals.size(), stream)(all);
      };
    }
    return ruled(operation, inputs, rules);
  };
}

}  // namespace

std::vector<ArrayHandle> with_mapping_rule(MappingRule rule, const OperationOnArrays& operation,
                                           std::span<const mlx_array> inputs, mlx_stream s) {
  const MlxFunction plain = [operation](const MlxArrays& arrays) {
    return arrays_of(borrow(operation(borrow(arrays))));
  };
  std::vector<ArrayHandle> results;
  std::ranges::transform(mappable(rule, plain, 1, stream_of(s))(arrays_of(inputs)), std::back_inserter(results),
                         handle_of);
  return results;
}

}  // namespace mlx_nif::detail
