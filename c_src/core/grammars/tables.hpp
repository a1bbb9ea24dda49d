// The tables that Elixir makes of a vocabulary and of a grammar. They may be anything: each place is looked at before
// it is read, so that wrong tables throw an ArgumentError.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace mlx_nif {

static_assert(std::endian::native == std::endian::little, "the tables have the numbers of such machines");

using Bytes = std::span<const unsigned char>;

// The number at a place that is there.
template <typename Number>
Number number_at(Bytes bytes, std::size_t place) {
  Number number;
  std::memcpy(&number, bytes.data() + place * sizeof(Number), sizeof(Number));
  return number;
}

[[noreturn]] void wrong_table(const char* what, std::size_t place);

// Numbers of 32 bits in a binary.
class Numbers {
 public:
  explicit Numbers(Bytes bytes);
  std::size_t size() const { return bytes_.size() / sizeof(std::uint32_t); }
  std::uint32_t operator[](std::size_t index) const { return number_at<std::uint32_t>(bytes_, index); }

 private:
  Bytes bytes_;
};

// Tokens in the order of a tree, from one to before another.
struct Run {
  std::uint32_t from, to;
  std::size_t size() const { return to - from; }
};

// A node of the tree of the beginnings of tokens: the last byte, the kinds of the bytes below it, the node behind all
// that are below it, and how many tokens come before it. `Mlx.LM.Grammar.Tree` makes them.
struct TreeNode {
  std::uint8_t byte;
  std::uint64_t kinds;
  std::uint32_t behind, before;
};

class TokenTree {
 public:
  // `tokens` are their numbers, in the order of the tree.
  TokenTree(Bytes nodes, Bytes tokens);

  const Numbers& tokens() const { return tokens_; }

  TreeNode node(std::uint32_t number) const {
    if (number >= size_) {
      wrong_table("a node of the tree", number);
    }
    const auto first = number_at<std::uint64_t>(nodes_, 2 * std::size_t{number});
    const auto second = number_at<std::uint64_t>(nodes_, 2 * std::size_t{number} + 1);
    return {static_cast<std::uint8_t>(first), first >> 8, static_cast<std::uint32_t>(second),
            static_cast<std::uint32_t>(second >> 32)};
  }

  // The tokens of a node and below it.
  Run run(std::uint32_t number) const;

 private:
  Bytes nodes_;
  std::size_t size_;
  Numbers tokens_;
};

// The rules of a grammar, which `Mlx.LM.Grammar.Program` makes: for each state and class of bytes the state that
// follows, or 0; for each state whether its rule may end there and whether it calls rules, and the kinds of bytes on
// which it stays.
class RuleTables {
 public:
  RuleTables(Bytes next, Bytes classes, std::uint64_t width, Bytes flags, Bytes kept);

  // A state that was given, which is one of the table then.
  std::uint32_t state(std::uint64_t number) const;

  std::uint32_t next(std::uint32_t state, std::uint8_t byte) const {
    const auto target = number_at<std::uint32_t>(next_, state * width_ + classes_[byte]);
    if (target >= flags_.size()) {
      wrong_table("a state of the grammar", target);
    }
    return target;
  }

  bool accepting(std::uint32_t state) const { return (flags_[state] & 1) != 0; }
  bool calling(std::uint32_t state) const { return (flags_[state] & 2) != 0; }
  std::uint64_t kept(std::uint32_t state) const { return number_at<std::uint64_t>(kept_, state); }

 private:
  Bytes next_, classes_;
  std::size_t width_;
  Bytes flags_, kept_;
};

}  // namespace mlx_nif
