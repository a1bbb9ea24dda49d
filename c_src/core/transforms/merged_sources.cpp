// Walks over a graph, and has each operation take the first of equal ranges.
#include "core/transforms/merged_sources.hpp"

#include <mlx/primitives.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

bool is_source(const mx::array& array) {
  return array.has_primitive() && array.inputs().empty() && std::string_view(array.primitive().name()) == "Arange";
}

bool is_equal(const mx::array& a, const mx::array& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.primitive().stream() == b.primitive().stream() &&
         a.primitive().is_equivalent(b.primitive());
}

}  // namespace

void merge_sources(const std::vector<mx::array>& outputs) {
  std::vector<mx::array> sources;
  std::vector<mx::array> open = outputs;
  std::unordered_set<std::uintptr_t> seen;
  while (!open.empty()) {
    const mx::array array = std::move(open.back());
    open.pop_back();
    if (!array.has_primitive() || seen.contains(array.id())) {
      continue;
    }
    // Each result of an operation has a list of its inputs.
    for (mx::array& result : array.outputs()) {
      seen.insert(result.id());
      for (mx::array& input : result.inputs()) {
        if (is_source(input)) {
          const auto first =
              std::ranges::find_if(sources, [&](const mx::array& source) { return is_equal(source, input); });
          if (first == sources.end()) {
            sources.push_back(input);
          } else {
            input = *first;
          }
        } else {
          open.push_back(input);
        }
      }
    }
  }
}

}  // namespace mlx_nif
