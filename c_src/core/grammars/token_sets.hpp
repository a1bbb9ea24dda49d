// Sets of tokens: bits in words of 32, of which the bit of each token is 1, or the numbers of the tokens where they are
// few.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/grammars/tables.hpp"

namespace mlx_nif {

using Words = std::span<unsigned char>;

// The words that hold all numbers of tokens.
constexpr std::size_t most_words = std::size_t{1} << 26;

// Whether numbers take less than so many words.
inline bool few(std::size_t count, std::size_t words) {
  return count < words;
}

std::size_t count(const std::vector<Run>& runs);

// Writes the numbers of the tokens of runs.
void write_numbers(const std::vector<Run>& runs, const Numbers& tokens, Words numbers);

// Adds the tokens of runs to words.
void add_runs(Words words, const std::vector<Run>& runs, const Numbers& tokens);

// Takes those of a whole run that are between runs out of words.
void remove_gaps(Words words, const std::vector<Run>& runs, Run whole, const Numbers& tokens);

// Adds tokens to words, or takes them out.
void add_numbers(Words words, const Numbers& numbers);
void remove_numbers(Words words, const Numbers& numbers);
void add_words(Words words, Bytes more);
void remove_words(Words words, Bytes less);

bool empty(Words words);

}  // namespace mlx_nif
