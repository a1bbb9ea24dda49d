// Puts bits into words and takes them out.
#include "core/grammars/token_sets.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace mlx_nif {
namespace {

// The byte of a token, which has to be there.
unsigned char& byte_of(Words words, std::uint32_t token) {
  const std::size_t place = token / 8;
  if (place >= words.size()) {
    wrong_table("a token beyond the words", token);
  }
  return words[place];
}

unsigned char bit_of(std::uint32_t token) {
  return static_cast<unsigned char>(1U << (token % 8));
}

void add(Words words, std::uint32_t token) {
  byte_of(words, token) |= bit_of(token);
}

void remove(Words words, std::uint32_t token) {
  byte_of(words, token) &= static_cast<unsigned char>(~bit_of(token));
}

// Changes each byte of words by that of others, eight at a time.
template <typename Change>
void change(Words words, Bytes others, const Change& change_bits) {
  if (others.size() > words.size()) {
    wrong_table("a number of bytes of words", others.size());
  }
  std::size_t at = 0;
  for (; at + sizeof(std::uint64_t) <= others.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t bits, other;
    std::memcpy(&bits, words.data() + at, sizeof(bits));
    std::memcpy(&other, others.data() + at, sizeof(other));
    bits = change_bits(bits, other);
    std::memcpy(words.data() + at, &bits, sizeof(bits));
  }
  for (; at < others.size(); ++at) {
    words[at] = static_cast<unsigned char>(change_bits(words[at], others[at]));
  }
}

}  // namespace

std::size_t count(const std::vector<Run>& runs) {
  std::size_t count = 0;
  for (const Run run : runs) {
    count += run.size();
  }
  return count;
}

void write_numbers(const std::vector<Run>& runs, const Numbers& tokens, Words numbers) {
  std::size_t at = 0;
  for (const Run run : runs) {
    for (std::uint32_t place = run.from; place < run.to; ++place, at += sizeof(std::uint32_t)) {
      const std::uint32_t token = tokens[place];
      std::memcpy(numbers.data() + at, &token, sizeof(token));
    }
  }
}

void add_runs(Words words, const std::vector<Run>& runs, const Numbers& tokens) {
  for (const Run run : runs) {
    for (std::uint32_t place = run.from; place < run.to; ++place) {
      add(words, tokens[place]);
    }
  }
}

void remove_gaps(Words words, const std::vector<Run>& runs, Run whole, const Numbers& tokens) {
  std::uint32_t place = whole.from;
  for (const Run run : runs) {
    for (; place < run.from; ++place) {
      remove(words, tokens[place]);
    }
    place = run.to;
  }
  for (; place < whole.to; ++place) {
    remove(words, tokens[place]);
  }
}

void add_numbers(Words words, const Numbers& numbers) {
  for (std::size_t index = 0; index < numbers.size(); ++index) {
    add(words, numbers[index]);
  }
}

void remove_numbers(Words words, const Numbers& numbers) {
  for (std::size_t index = 0; index < numbers.size(); ++index) {
    remove(words, numbers[index]);
  }
}

void add_words(Words words, Bytes more) {
  change(words, more, [](std::uint64_t bits, std::uint64_t other) { return bits | other; });
}

void remove_words(Words words, Bytes less) {
  change(words, less, [](std::uint64_t bits, std::uint64_t other) { return bits & ~other; });
}

bool empty(Words words) {
  return std::ranges::all_of(words, [](unsigned char byte) { return byte == 0; });
}

}  // namespace mlx_nif
