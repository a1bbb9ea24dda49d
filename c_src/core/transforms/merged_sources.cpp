// Has each operation take the first of equal numbers, of equal ranges, and of arrays of the same number.
#include "core/transforms/merged_sources.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

bool is_equal(const mx::array& a, const mx::array& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.primitive().stream() == b.primitive().stream() &&
         std::ranges::equal(a.inputs(), b.inputs(), {}, &mx::array::id, &mx::array::id) &&
         a.primitive().is_equivalent(b.primitive());
}

void merge_numbers(const std::vector<GraphSources::NumberUse>& uses) {
  std::map<std::pair<mx::Dtype::Val, std::uint64_t>, mx::array> firsts;
  for (const GraphSources::NumberUse& use : uses) {
    // It may have been replaced by an operation.
    if (!use.input->has_primitive()) {
      const auto [first, inserted] = firsts.try_emplace({use.input->dtype().val(), use.bits}, *use.input);
      if (!inserted) {
        *use.input = first->second;
      }
    }
  }
}

void merge_equal(const std::vector<GraphSources::Use>& uses) {
  std::unordered_multimap<std::size_t, mx::array> firsts;
  for (const GraphSources::Use& use : uses) {
    const auto [begin, end] = firsts.equal_range(use.input->size());
    const auto first = std::find_if(begin, end, [&](const auto& other) { return is_equal(other.second, *use.input); });
    if (first == end) {
      firsts.emplace(use.input->size(), *use.input);
    } else {
      *use.input = first->second;
    }
  }
}

}  // namespace

void merge_sources(const GraphSources& sources) {
  merge_numbers(sources.numbers());
  merge_equal(sources.repeated_numbers());
  merge_equal(sources.ranges());
}

}  // namespace mlx_nif
