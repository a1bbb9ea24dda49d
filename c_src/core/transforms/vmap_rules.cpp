// Looks up rules by the kinds of the inputs.
#include "core/transforms/vmap_rules.hpp"

#include <algorithm>

namespace mlx_nif {

std::shared_ptr<const VmapRules::Rule> VmapRules::find(const std::vector<Input>& inputs) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(rules_, inputs, [](const auto& entry) -> const auto& { return entry.first; });
  return found == rules_.end() ? nullptr : found->second;
}

void VmapRules::insert(std::vector<Input> inputs, Rule rule) {
  const std::lock_guard lock(mutex_);
  rules_.emplace_back(std::move(inputs), std::make_shared<const Rule>(std::move(rule)));
}

}  // namespace mlx_nif
