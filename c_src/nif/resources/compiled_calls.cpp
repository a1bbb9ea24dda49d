// Keeps entries by the hash of their forms, and drops those of a group that were used longest ago.
#include "nif/resources/compiled_calls.hpp"

#include <algorithm>
#include <functional>
#include <ranges>
#include <utility>

#include "nif/resources/resources.hpp"

namespace mlx_nif {

CompiledCall::CompiledCall(const FlatContainer& arguments, ERL_NIF_TERM value)
    : env_(enif_alloc_env()), form_(env_.get(), arguments), value_(enif_make_copy(env_.get(), value)) {
  take_apart();
}

void CompiledCall::take_apart() {
  int arity = 0;
  const ERL_NIF_TERM* elements = nullptr;
  if (enif_get_tuple(env_.get(), value_, &arity, &elements) == 0 || arity != 3) {
    return;
  }
  const CompiledResource* compiled = Resource<CompiledResource>::find(env_.get(), elements[0]);
  result_ = ContainerTemplate::of(env_.get(), elements[2]);
  if (compiled == nullptr || !result_) {
    return;
  }
  ERL_NIF_TERM captured = elements[1];
  ERL_NIF_TERM head;
  while (enif_get_list_cell(env_.get(), captured, &head, &captured) != 0) {
    Array* array = find_array(env_.get(), head);
    if (array == nullptr) {
      return;
    }
    captured_.push_back(array);
  }
  function_ = compiled->function;
}

template <typename Wanted>
std::vector<CompiledCalls::Entries::const_iterator> CompiledCalls::entries(const Wanted& wanted) const {
  std::vector<Entries::const_iterator> found;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (wanted(*entry->second.call)) {
      found.push_back(entry);
    }
  }
  std::ranges::sort(found, std::ranges::greater{}, [](const auto& entry) { return entry->second.last_use; });
  return found;
}

std::shared_ptr<const CompiledCall> CompiledCalls::find(const FlatContainer& arguments) {
  const std::lock_guard lock(mutex_);
  return use_entry(arguments);
}

std::vector<std::shared_ptr<const CompiledCall>> CompiledCalls::latest() const {
  const std::lock_guard lock(mutex_);
  const auto all = entries([](const CompiledCall&) { return true; });
  std::vector<std::shared_ptr<const CompiledCall>> calls;
  for (const auto& entry : all | std::views::take(most_of_a_group_)) {
    calls.push_back(entry->second.call);
  }
  return calls;
}

void CompiledCalls::insert(const FlatContainer& arguments, ERL_NIF_TERM value) {
  auto call = std::make_shared<const CompiledCall>(arguments, value);
  // Their end frees arrays and graphs, which is not done under the lock.
  std::vector<std::shared_ptr<const CompiledCall>> dropped;
  const std::lock_guard lock(mutex_);
  if (use_entry(arguments) != nullptr) {
    return;
  }
  const auto others =
      entries([&](const CompiledCall& other) { return one_group_ || other.differs_in_numbers_only(*call); });
  for (const auto& entry : others | std::views::drop(most_of_a_group_ - 1)) {
    dropped.push_back(entry->second.call);
    entries_.erase(entry);
  }
  entries_.emplace(arguments.form_hash(), Entry{.call = std::move(call), .last_use = ++uses_});
}

std::shared_ptr<const CompiledCall> CompiledCalls::use_entry(const FlatContainer& arguments) {
  const auto [first, last] = entries_.equal_range(arguments.form_hash());
  const auto found =
      std::find_if(first, last, [&arguments](const auto& entry) { return entry.second.call->is_for(arguments); });
  if (found == last) {
    return nullptr;
  }
  found->second.last_use = ++uses_;
  return found->second.call;
}

}  // namespace mlx_nif
