// Matrices of 4 or 8 bits an element on a CPU, which are unpacked a few rows at a time while they are multiplied.
//
// A word of 32 bits holds neighbours, and a vector of words is unpacked by one shift for all of them. So elements are
// taken in another order than they have in memory, first the lowest of each word, and what they are multiplied with is
// arranged in this order before. A sum is the same in any order but for its last digits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mlx_nif {

// The elements whose order changes: a block has as many, and a row consists of whole blocks.
constexpr int packed_block = 64;

constexpr int bits_of_word = 32;

enum class FactorType { f32, f16, bf16 };

// A matrix by rows: element = scale of its group * packed number + bias of its group.
struct PackedRows {
  const std::uint32_t* words;
  const void* scales;
  const void* biases;
  FactorType type;  // of scales and biases
  int bits;
  int group_size;
  int columns;
};

// A row of a factor in the order in which packed elements are taken. `step` is from one element to the next.
void arrange(const void* row, std::ptrdiff_t step, FactorType type, int columns, int bits, float* arranged);

// Arranged rows of a factor, and the array of products: product [row, output] is at row * outputs + output.
struct PackedFactor {
  const float* arranged;
  int rows;
  int outputs;
  float* products;
};

// How one kind of processor multiplies.
struct PackedKernel {
  const char* processor;
  // For the outputs from `first` on before `last`. A row has the same products alone and among others.
  void (*multiply)(const PackedRows&, const PackedFactor&, int first, int last);
  // Outputs that are computed together. Who divides them among threads begins at a multiple.
  int outputs_at_once;
};

// Those that this processor can run, the fastest first.
std::span<const PackedKernel> packed_kernels();

}  // namespace mlx_nif
