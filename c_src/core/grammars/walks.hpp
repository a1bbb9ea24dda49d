// What the tokens below nodes of a vocabulary's tree do to one state of a grammar, whatever its stack is.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/grammars/tables.hpp"

namespace mlx_nif {

// After so many nodes a walk throws NeedsDirtyScheduler.
struct MostNodes {
  std::size_t count;
};

// A node at which a state calls rules.
struct Call {
  std::uint32_t state, node;
  auto operator<=>(const Call&) const = default;
};

struct Reached {
  // The tokens that stay in the rule to their last byte. Those below one node are in order.
  std::vector<Run> tokens;
  // The nodes at which the rule may return with more bytes to come.
  std::vector<std::uint32_t> returns;
  std::vector<Call> calls;
};

Reached reach(const TokenTree& tree, const RuleTables& rules, std::uint32_t state, Numbers nodes, MostNodes most);

// A state inside of a rule whose texts are counted, the rule's first state, and the kinds of bytes that are texts of
// their own.
struct CountedState {
  std::uint32_t state, first;
  std::uint64_t kept;
};

// The tokens of a run, and how many texts they need.
struct Needing {
  std::uint32_t texts;
  Run tokens;
};

// A node behind so many texts, at which the rule may return with more bytes to come.
struct CountedReturn {
  std::uint32_t texts, node;
  auto operator<=>(const CountedReturn&) const = default;
};

struct Counted {
  // Those that need as many texts as they have characters.
  std::vector<Run> characters;
  // The others, those that need the fewest first, and the returns likewise.
  std::vector<Needing> tokens;
  std::vector<CountedReturn> returns;
};

Counted count_texts(const TokenTree& tree, const RuleTables& rules, CountedState state, Numbers nodes, MostNodes most);

}  // namespace mlx_nif
