// Which tokens of a vocabulary go on with a text of a grammar, and sets of tokens.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "core/grammars/tables.hpp"
#include "core/grammars/token_sets.hpp"
#include "core/grammars/walks.hpp"
#include "nif/functions/function.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

// What takes longer than a part of a millisecond is for a dirty scheduler.
constexpr std::size_t most_nodes_inline = 40'000;
constexpr std::size_t most_tokens_inline = 200'000;
constexpr std::size_t most_bytes_inline = std::size_t{2} << 20;

Bytes decode_bytes(ErlNifEnv* env, ERL_NIF_TERM term) {
  const ErlNifBinary binary = decode_binary(env, term);
  return {binary.data, binary.size};
}

MostNodes most_nodes_here() {
  return {on_normal_scheduler() ? most_nodes_inline : std::numeric_limits<std::size_t>::max()};
}

std::size_t decode_words(ErlNifEnv* env, ERL_NIF_TERM term) {
  const auto words = decode<std::uint64_t>(env, term);
  if (words > most_words) {
    wrong_table("a number of words", words);
  }
  return words;
}

// A tree, and the number of words of its sets: {nodes, tokens, words}.
struct Vocabulary {
  Vocabulary(ErlNifEnv* env, const std::array<ERL_NIF_TERM, 3>& parts)
      : tree(decode_bytes(env, parts[0]), decode_bytes(env, parts[1])), words(decode_words(env, parts[2])) {}
  Vocabulary(ErlNifEnv* env, ERL_NIF_TERM term) : Vocabulary(env, elements<3>(env, term)) {}

  TokenTree tree;
  std::size_t words;
};

// {next, classes, width, flags, kept}
RuleTables decode_rules(ErlNifEnv* env, ERL_NIF_TERM term) {
  const auto [next, classes, width, flags, kept] = elements<5>(env, term);
  return {decode_bytes(env, next), decode_bytes(env, classes), decode<std::uint64_t>(env, width),
          decode_bytes(env, flags), decode_bytes(env, kept)};
}

// The words of all tokens below the one node that a walk is for; nil where they are not known.
class AllTokens {
 public:
  AllTokens(ErlNifEnv* env, ERL_NIF_TERM term, const Vocabulary& vocabulary, const Numbers& nodes) {
    if (is_nil(term)) {
      return;
    }
    words_ = decode_bytes(env, term);
    if (words_->size() != vocabulary.words * sizeof(std::uint32_t) || nodes.size() != 1) {
      wrong_table("a number of bytes of all tokens", words_->size());
    }
    run_ = vocabulary.tree.run(nodes[0]);
  }

  // Whether it is less work to take out of all tokens than to put together.
  bool nearly(std::size_t count) const { return words_ && 2 * count > run_.size(); }

  Bytes words() const { return *words_; }
  Run run() const { return run_; }

 private:
  std::optional<Bytes> words_;
  Run run_{0, 0};
};

ERL_NIF_TERM make_numbers(ErlNifEnv* env, const std::vector<std::uint32_t>& numbers) {
  return make_binary(env, {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(std::uint32_t)});
}

// A set as `Mlx.LM.Grammar.TokenSet` has it: words, or {:ids, numbers}.
ERL_NIF_TERM make_set(ErlNifEnv* env, const Vocabulary& vocabulary, const std::vector<Run>& runs,
                      const AllTokens* all = nullptr) {
  const std::size_t tokens = count(runs);
  if (tokens > most_tokens_inline) {
    require_dirty_scheduler();
  }
  const bool numbers = few(tokens, vocabulary.words);
  const std::size_t size = sizeof(std::uint32_t) * (numbers ? tokens : vocabulary.words);
  ERL_NIF_TERM term;
  const Words bytes(enif_make_new_binary(env, size, &term), size);
  if (numbers) {
    write_numbers(runs, vocabulary.tree.tokens(), bytes);
    return enif_make_tuple2(env, atoms.ids, term);
  }
  if (all != nullptr && all->nearly(tokens)) {
    std::ranges::copy(all->words(), bytes.begin());
    remove_gaps(bytes, runs, all->run(), vocabulary.tree.tokens());
  } else {
    std::ranges::fill(bytes, 0);
    add_runs(bytes, runs, vocabulary.tree.tokens());
  }
  return term;
}

// Elements whose keys are next to each other as [{key, what `make` makes of the others}].
template <typename Element, typename Key, typename Make>
ERL_NIF_TERM make_groups(ErlNifEnv* env, const std::vector<Element>& elements, Key key, const Make& make) {
  std::vector<ERL_NIF_TERM> groups;
  for (auto first = elements.begin(); first != elements.end();) {
    const auto last =
        std::find_if(first, elements.end(), [&](const Element& other) { return other.*key != (*first).*key; });
    groups.push_back(enif_make_tuple2(env, enif_make_uint(env, (*first).*key), make(std::span(first, last))));
    first = last;
  }
  return enif_make_list_from_array(env, groups.data(), static_cast<unsigned>(groups.size()));
}

// The `node`s of elements.
template <typename Element>
auto nodes_of(ErlNifEnv* env) {
  return [env](std::span<const Element> elements) {
    std::vector<std::uint32_t> nodes;
    for (const Element& element : elements) {
      nodes.push_back(element.node);
    }
    return make_numbers(env, nodes);
  };
}

// (vocabulary, rules, state, nodes, all): {tokens, nodes where the rule returns, [{state that calls rules, nodes}]}
ERL_NIF_TERM grammar_reach(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const TimeSlice slice(env);
  const Vocabulary vocabulary(env, argv[0]);
  const RuleTables rules = decode_rules(env, argv[1]);
  const std::uint32_t state = rules.state(decode<std::uint64_t>(env, argv[2]));
  const Numbers nodes(decode_bytes(env, argv[3]));
  const AllTokens all(env, argv[4], vocabulary, nodes);
  const Reached reached = reach(vocabulary.tree, rules, state, nodes, most_nodes_here());
  return enif_make_tuple3(env, make_set(env, vocabulary, reached.tokens, &all), make_numbers(env, reached.returns),
                          make_groups(env, reached.calls, &Call::state, nodes_of<Call>(env)));
}

// (vocabulary, rules, {state, first state, kinds on which it stays}, nodes, all):
// {tokens of characters, [{texts, other tokens}], [{texts, nodes where the rule returns}]}
ERL_NIF_TERM grammar_count(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const TimeSlice slice(env);
  const Vocabulary vocabulary(env, argv[0]);
  const RuleTables rules = decode_rules(env, argv[1]);
  const auto [state, first, kept] = elements<3>(env, argv[2]);
  const CountedState counted{rules.state(decode<std::uint64_t>(env, state)),
                             rules.state(decode<std::uint64_t>(env, first)), decode<std::uint64_t>(env, kept)};
  const Numbers nodes(decode_bytes(env, argv[3]));
  const AllTokens all(env, argv[4], vocabulary, nodes);
  const Counted found = count_texts(vocabulary.tree, rules, counted, nodes, most_nodes_here());
  const auto set = [&](std::span<const Needing> tokens) {
    std::vector<Run> runs;
    for (const Needing& needing : tokens) {
      runs.push_back(needing.tokens);
    }
    return make_set(env, vocabulary, runs);
  };
  return enif_make_tuple3(env, make_set(env, vocabulary, found.characters, &all),
                          make_groups(env, found.tokens, &Needing::texts, set),
                          make_groups(env, found.returns, &CountedReturn::texts, nodes_of<CountedReturn>(env)));
}

// A set of tokens: numbers or words.
struct TokenSet {
  TokenSet(ErlNifEnv* env, ERL_NIF_TERM term) {
    int arity = 0;
    const ERL_NIF_TERM* parts = nullptr;
    numbers = enif_get_tuple(env, term, &arity, &parts) != 0;
    if (numbers && (arity != 2 || enif_is_identical(parts[0], atoms.ids) == 0)) {
      expected(env, "{:ids, numbers} or words", term);
    }
    bytes = decode_bytes(env, numbers ? parts[1] : term);
  }

  void add_to(Words words) const { numbers ? add_numbers(words, Numbers(bytes)) : add_words(words, bytes); }
  void remove_from(Words words) const { numbers ? remove_numbers(words, Numbers(bytes)) : remove_words(words, bytes); }

  bool numbers;
  Bytes bytes;
};

// (sets, set to leave out, words): the words of the union, or nil where it has no token
ERL_NIF_TERM grammar_union(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const TimeSlice slice(env);
  std::vector<TokenSet> sets;
  for_each_element(env, argv[0], [&](ERL_NIF_TERM set) { sets.emplace_back(env, set); });
  const TokenSet without(env, argv[1]);
  const std::size_t size = sizeof(std::uint32_t) * decode_words(env, argv[2]);
  std::size_t work = size + without.bytes.size();
  for (const TokenSet& set : sets) {
    work += set.bytes.size();
  }
  if (work > most_bytes_inline) {
    require_dirty_scheduler();
  }
  ERL_NIF_TERM term;
  const Words words(enif_make_new_binary(env, size, &term), size);
  std::ranges::fill(words, 0);
  for (const TokenSet& set : sets) {
    set.add_to(words);
  }
  without.remove_from(words);
  return empty(words) ? atoms.nil : term;
}

}  // namespace

std::vector<ErlNifFunc> grammar_functions() {
  return {
      function<"grammar_count", 5, grammar_count>(),
      function<"grammar_reach", 5, grammar_reach>(),
      function<"grammar_union", 3, grammar_union>(),
  };
}

}  // namespace mlx_nif
