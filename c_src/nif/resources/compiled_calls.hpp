// What a compiled function has for each form of its arguments, for as long as somebody has the function.
#pragma once

#include <erl_nif.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/transforms/compilation.hpp"
#include "nif/resources/containers.hpp"
#include "nif/terms/environment.hpp"

namespace mlx_nif {

// The compiled function for one form of the arguments.
class CompiledCall {
 public:
  // `value`: what Elixir knows of it, `{compiled, captured, result}`.
  CompiledCall(const FlatContainer& arguments, ERL_NIF_TERM value);

  bool is_for(const FlatContainer& arguments) const { return form_.is_of(arguments); }
  bool differs_in_numbers_only(const CompiledCall& other) const { return form_.differs_in_numbers_only(other.form_); }
  ERL_NIF_TERM copy_value(ErlNifEnv* env) const { return enif_make_copy(env, value_); }

  // Null when it is no function that is compiled as a whole.
  const std::shared_ptr<CompiledFunction>& function() const { return function_; }
  // The arrays that the function takes after those of the arguments.
  const std::vector<Array*>& captured() const { return captured_; }
  const ContainerTemplate& result() const { return *result_; }

 private:
  void take_apart();

  OwnEnvironment env_;
  const ContainerForm form_;
  const ERL_NIF_TERM value_;
  std::shared_ptr<CompiledFunction> function_;
  std::vector<Array*> captured_;
  std::optional<ContainerTemplate> result_;
};

// Any number of processes may use one. It has a few entries. Those whose arguments differ in numbers only are a group,
// or all are one; of each group it keeps so many as were used last.
class CompiledCalls {
 public:
  CompiledCalls(std::size_t most_of_a_group, bool one_group)
      : most_of_a_group_(most_of_a_group), one_group_(one_group) {}

  // The entry for arguments of this form, or null.
  std::shared_ptr<const CompiledCall> find(const FlatContainer& arguments);

  // Those that were used last, no more than a group may have, the latest in front.
  std::vector<std::shared_ptr<const CompiledCall>> latest() const;

  // Keeps what is there already.
  void insert(const FlatContainer& arguments, ERL_NIF_TERM value);

 private:
  struct Entry {
    std::shared_ptr<const CompiledCall> call;
    std::uint64_t last_use;
  };
  using Entries = std::unordered_multimap<std::size_t, Entry>;

  std::shared_ptr<const CompiledCall> use_entry(const FlatContainer& arguments);
  // Those that `wanted(call)` holds for, the one used last in front.
  template <typename Wanted>
  std::vector<Entries::const_iterator> entries(const Wanted& wanted) const;

  const std::size_t most_of_a_group_;
  const bool one_group_;
  mutable std::mutex mutex_;
  Entries entries_;
  std::uint64_t uses_ = 0;
};

}  // namespace mlx_nif
