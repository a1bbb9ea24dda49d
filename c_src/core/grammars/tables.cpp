// Looks at the sizes of tables, and says what is wrong with them.
#include "core/grammars/tables.hpp"

#include <algorithm>
#include <string>

#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

constexpr std::size_t bytes_of_node = 16;
constexpr std::size_t count_of_bytes = 256;

}  // namespace

void wrong_table(const char* what, std::size_t place) {
  throw ArgumentError(std::string("expected tables that fit together, got ") + what +
                      " that cannot be: " + std::to_string(place));
}

Numbers::Numbers(Bytes bytes) : bytes_(bytes) {
  if (bytes.size() % sizeof(std::uint32_t) != 0) {
    wrong_table("a number of bytes of numbers", bytes.size());
  }
}

TokenTree::TokenTree(Bytes nodes, Bytes tokens) : nodes_(nodes), size_(nodes.size() / bytes_of_node), tokens_(tokens) {
  if (nodes.size() % bytes_of_node != 0) {
    wrong_table("a number of bytes of nodes", nodes.size());
  }
}

Run TokenTree::run(std::uint32_t number) const {
  const TreeNode first = node(number);
  const Run run{first.before, node(first.behind).before};
  if (run.from > run.to || run.to > tokens_.size()) {
    wrong_table("a run of tokens of a node", number);
  }
  return run;
}

RuleTables::RuleTables(Bytes next, Bytes classes, std::uint64_t width, Bytes flags, Bytes kept)
    : next_(next), classes_(classes), width_(width), flags_(flags), kept_(kept) {
  if (classes.size() != count_of_bytes) {
    wrong_table("a number of classes of bytes", classes.size());
  }
  if (width > count_of_bytes || std::ranges::max(classes) >= width) {
    wrong_table("a number of classes", width);
  }
  if (next.size() != flags.size() * width * sizeof(std::uint32_t) ||
      kept.size() != flags.size() * sizeof(std::uint64_t)) {
    wrong_table("a number of states", flags.size());
  }
}

std::uint32_t RuleTables::state(std::uint64_t number) const {
  if (number >= flags_.size()) {
    wrong_table("a state", number);
  }
  return static_cast<std::uint32_t>(number);
}

}  // namespace mlx_nif
