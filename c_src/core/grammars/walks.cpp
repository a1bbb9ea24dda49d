// Walks over the vocabulary's tree. The nodes that are left to do are on a stack of our own, since a token may be long.
#include "core/grammars/walks.hpp"

#include <algorithm>
#include <utility>

#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

// Reads the nodes of a tree in their order, and sees to it that wrong ones neither take it back nor out of the tree.
class Reader {
 public:
  Reader(const TokenTree& tree, MostNodes most) : tree_(tree), left_(most.count) {}

  // The tokens from here on are behind all that came before.
  TreeNode begin(std::uint32_t root) {
    const TreeNode node = tree_.node(root);
    tokens_from_ = node.before;
    return node;
  }

  // The first token behind those of a node.
  std::uint32_t first_behind(const TreeNode& node) const { return tree_.node(node.behind).before; }

  // A node of those before `last`.
  TreeNode read(std::uint32_t number, std::uint32_t last) {
    if (left_-- == 0) {
      throw NeedsDirtyScheduler();
    }
    const TreeNode node = tree_.node(number);
    if (node.behind <= number || node.behind > last) {
      wrong_table("an end of a node", number);
    }
    return node;
  }

  // The tokens from a node to before another.
  Run run(const TreeNode& node, std::uint32_t other) { return run(node.before, tree_.node(other).before); }

  Run run(std::uint32_t from, std::uint32_t to) {
    if (from < tokens_from_ || to < from || to > tree_.tokens().size()) {
      wrong_table("a run of tokens", to);
    }
    tokens_from_ = to;
    return {from, to};
  }

 private:
  const TokenTree& tree_;
  std::size_t left_;
  std::uint32_t tokens_from_ = 0;
};

void add(std::vector<Run>& runs, Run run) {
  if (!runs.empty() && runs.back().to == run.from) {
    runs.back().to = run.to;
  } else if (run.size() > 0) {
    runs.push_back(run);
  }
}

template <typename Element>
void make_distinct(std::vector<Element>& elements) {
  // Not by `std::less`, since numbers would then be sorted by a function of the libc++ that the library finds.
  std::ranges::sort(elements, [](const Element& one, const Element& other) { return one < other; });
  const auto rest = std::ranges::unique(elements);
  elements.erase(rest.begin(), rest.end());
}

// Takes rests from the stack until `here` is one that goes on at a node. False when none is left.
template <typename Rest>
bool find_rest(std::vector<Rest>& rests, Rest& here, std::uint32_t at) {
  while (at >= here.last) {
    if (rests.empty()) {
      return false;
    }
    here = rests.back();
    rests.pop_back();
  }
  return true;
}

// Nodes up to one that are left to do from a state.
struct Rest {
  std::uint32_t last, state;
};

class Reach {
 public:
  Reach(const TokenTree& tree, const RuleTables& rules, MostNodes most) : rules_(rules), reader_(tree, most) {}

  void below(std::uint32_t root, std::uint32_t state) {
    const TreeNode above = reader_.begin(root);
    Rest here{above.behind, state};
    std::uint32_t at = root + 1;
    while (true) {
      if (!find_rest(rests_, here, at)) {
        end_run(reader_.first_behind(above));
        return;
      }
      const TreeNode node = reader_.read(at, here.last);
      const std::uint32_t target = rules_.next(here.state, node.byte);
      if (target == 0) {
        end_run(node.before);
        at = node.behind;
        continue;
      }
      begin_run(node.before);
      if (node.behind == at + 1 || (node.kinds & rules_.kept(target)) == node.kinds) {
        at = node.behind;
      } else {
        pass(at, target);
        rests_.push_back(here);
        here = {node.behind, target};
        ++at;
      }
    }
  }

  Reached found() {
    make_distinct(found_.returns);
    make_distinct(found_.calls);
    return std::move(found_);
  }

 private:
  // All tokens from a node that fits to the next one that does not are a run.
  void begin_run(std::uint32_t token) {
    if (!in_run_) {
      in_run_ = true;
      run_from_ = token;
    }
  }

  void end_run(std::uint32_t token) {
    if (in_run_) {
      in_run_ = false;
      add(found_.tokens, reader_.run(run_from_, token));
    }
  }

  // What may happen behind a byte.
  void pass(std::uint32_t at, std::uint32_t state) {
    if (rules_.accepting(state)) {
      found_.returns.push_back(at);
    }
    if (rules_.calling(state)) {
      found_.calls.push_back({state, at});
    }
  }

  const RuleTables& rules_;
  Reader reader_;
  std::vector<Rest> rests_;
  bool in_run_ = false;
  std::uint32_t run_from_ = 0;
  Reached found_;
};

// Nodes up to one that are left to do from a state, below a node before which there were so many texts and characters.
struct CountedRest {
  std::uint32_t last, state, above, texts, characters;
  bool returned = false;
};

class Count {
 public:
  Count(const TokenTree& tree, const RuleTables& rules, CountedState state, MostNodes most)
      : rules_(rules), reader_(tree, most), start_(state) {}

  void below(std::uint32_t root) {
    CountedRest here{reader_.begin(root).behind, start_.state, root, 0, 0};
    std::uint32_t at = root + 1;
    while (true) {
      if (!find_rest(rests_, here, at)) {
        return;
      }
      const TreeNode node = reader_.read(at, here.last);
      const std::uint32_t target = rules_.next(here.state, node.byte);
      if (target == 0) {
        leave(here);
        at = node.behind;
      } else {
        const CountedRest inside = after(here, at, node, target);
        if (of_characters(here, inside, node)) {
          add(found_.characters, reader_.run(node, node.behind));
          at = node.behind;
        } else {
          token(here, node, at);
          rests_.push_back(here);
          here = inside;
          ++at;
        }
      }
    }
  }

  Counted found() {
    std::ranges::stable_sort(found_.tokens, {}, &Needing::texts);
    make_distinct(found_.returns);
    return std::move(found_);
  }

 private:
  // What follows a counted rule begins with no byte of its texts, so that the rule returns where a node goes on with
  // another byte.
  void leave(CountedRest& here) {
    if (here.state == start_.first && here.texts > 0 && !here.returned) {
      here.returned = true;
      found_.returns.push_back({here.texts, here.above});
    }
  }

  CountedRest after(const CountedRest& here, std::uint32_t at, const TreeNode& node, std::uint32_t target) const {
    const bool complete = rules_.accepting(target);
    const bool begins_character = node.byte < 0x80 || node.byte > 0xBF;
    return {.last = node.behind,
            .state = complete ? start_.first : target,
            .above = at,
            .texts = here.texts + (complete ? 1 : 0),
            .characters = here.characters + (begins_character ? 1 : 0)};
  }

  // Whether each character at a node and below it is a text.
  bool of_characters(const CountedRest& here, const CountedRest& inside, const TreeNode& node) const {
    return start_.kept != 0 && inside.texts > here.texts && inside.texts == inside.characters &&
           (node.kinds & start_.kept) == node.kinds;
  }

  // The token that ends at a node needs one text more than there were before, whether that is complete or not.
  void token(const CountedRest& here, const TreeNode& node, std::uint32_t at) {
    const Run run = reader_.run(node, at + 1);
    if (run.size() > 0) {
      found_.tokens.push_back({here.texts + 1, run});
    }
  }

  const RuleTables& rules_;
  Reader reader_;
  CountedState start_;
  std::vector<CountedRest> rests_;
  Counted found_;
};

}  // namespace

Reached reach(const TokenTree& tree, const RuleTables& rules, std::uint32_t state, Numbers nodes, MostNodes most) {
  Reach walk(tree, rules, most);
  for (std::size_t index = 0; index < nodes.size(); ++index) {
    walk.below(nodes[index], state);
  }
  return walk.found();
}

Counted count_texts(const TokenTree& tree, const RuleTables& rules, CountedState state, Numbers nodes, MostNodes most) {
  Count walk(tree, rules, state, most);
  for (std::size_t index = 0; index < nodes.size(); ++index) {
    walk.below(nodes[index]);
  }
  return walk.found();
}

}  // namespace mlx_nif
