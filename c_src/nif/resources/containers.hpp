// Containers of arrays as `Mlx.Tree` walks them: the arguments and the results of compiled functions.
#pragma once

#include <erl_nif.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/array/array.hpp"
#include "core/array/array_kind.hpp"
#include "nif/terms/environment.hpp"

namespace mlx_nif {

// A part of a container. Its parts follow it, those of a map after the keys, in the order of `Mlx.Tree`.
struct ContainerPart {
  enum Kind : std::uint32_t { array, term, cons, tuple, map };
  Kind kind : 3;
  // Of a tuple or map.
  std::uint32_t size : 29 = 0;

  bool operator==(const ContainerPart&) const = default;
};

// A container taken apart, for the length of a call: its arrays, pinned, and the rest of it. Throws ArgumentError for
// an
// `%Mlx.Array{}` without an array, and NeedsDirtyScheduler where there are many parts.
class FlatContainer {
 public:
  // `any_shape`: of the shapes of its arrays only the number of axes belongs to its form.
  FlatContainer(ErlNifEnv* env, ERL_NIF_TERM container, bool any_shape);

  // Of maps with keys that are equal numbers, such as 1 and 1.0, the order of `Mlx.Tree` is not known.
  bool is_ordered() const { return ordered_; }

  std::span<Array* const> arrays() const { return arrays_; }
  std::size_t form_hash() const { return hash_; }

 private:
  friend class ContainerForm;

  void add_list(ErlNifEnv* env, ERL_NIF_TERM list);
  bool add_array(ErlNifEnv* env, ERL_NIF_TERM term);
  void add(ErlNifEnv* env, ERL_NIF_TERM term);
  void add_part(ContainerPart part);
  void add_term(ERL_NIF_TERM term);
  void mix(std::uint64_t value);

  const bool any_shape_;
  bool ordered_ = true;
  std::vector<ContainerPart> parts_;
  // Keys of maps, and whatever is no container.
  std::vector<ERL_NIF_TERM> terms_;
  std::vector<Pin> pins_;
  std::vector<Array*> arrays_;
  // Parts that are still to be added, the next one last.
  std::vector<ERL_NIF_TERM> open_;
  std::uint64_t hash_ = 0;
};

// What containers have in common that differ only in the contents of their arrays, and in shapes if any will do.
class ContainerForm {
 public:
  // The environment keeps the terms.
  ContainerForm(ErlNifEnv* env, const FlatContainer& container);

  bool is_of(const FlatContainer& container) const;

  // Nothing but numbers that are neither keys of maps nor elements of arrays distinguishes the two, if anything does.
  bool differs_in_numbers_only(const ContainerForm& other) const;

 private:
  enum class NumberKind : std::uint8_t { none, integer, floating };

  static NumberKind number_kind(ErlNifEnv* env, ERL_NIF_TERM term);

  bool any_shape_;
  std::vector<ContainerPart> parts_;
  std::vector<ERL_NIF_TERM> terms_;
  // What each of the terms is, if it is no key of a map.
  std::vector<NumberKind> numbers_;
  std::vector<ArrayKind> arrays_;
};

// A container whose arrays are to be put in place.
class ContainerTemplate {
 public:
  // None where the order of its arrays is not known. The environment keeps the container.
  static std::optional<ContainerTemplate> of(ErlNifEnv* env, ERL_NIF_TERM container);

  std::size_t array_count() const { return array_count_; }

  // The container with these arrays, of which there are so many.
  ERL_NIF_TERM fill(ErlNifEnv* env, std::span<const ERL_NIF_TERM> arrays) const;

 private:
  // Each takes what it is made of from the values that were made before.
  struct Step {
    ContainerPart part;
    ERL_NIF_TERM term = 0;
    // Of a map: its keys in the order in which the VM has them, and which of its values belongs to each.
    std::vector<ERL_NIF_TERM> keys;
    std::vector<std::size_t> value_of_key;
  };

  std::vector<Step> steps_;
  std::size_t array_count_ = 0;
};

}  // namespace mlx_nif
