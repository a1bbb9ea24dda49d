// One function for all widths of vectors, which the compiler makes for each kind of processor.
#include "core/kernels/packed_rows.hpp"

#include <mlx/types/half_types.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/kernels/processor.hpp"

namespace mlx_nif {
namespace {

constexpr int smallest_group = 32;

// Columns that are unpacked at once, so that they stay in the nearest cache, and rows that are multiplied with them
// before the next columns, so that these stay in the one behind it.
constexpr int columns_at_once = 1024;
constexpr int rows_of_chunk = 128;
constexpr int rows_at_once = 4;

template <int lanes>
struct Vector {
  using Floats [[gnu::vector_size(sizeof(float) * lanes)]] = float;
  using Words [[gnu::vector_size(sizeof(std::uint32_t) * lanes)]] = std::uint32_t;
  using Signed [[gnu::vector_size(sizeof(std::int32_t) * lanes)]] = std::int32_t;
  using Pairs [[gnu::vector_size(sizeof(std::int32_t) * lanes)]] = std::uint64_t;
};

template <typename Whole, typename Part>
[[gnu::always_inline]] inline Whole load(const Part* from) {
  Whole whole;
  std::memcpy(&whole, from, sizeof whole);
  return whole;
}

// Calls work(index) with each number below `count`, which is known when that is compiled.
template <int count, typename Work>
[[gnu::always_inline]] inline void unrolled(const Work& work) {
  [&]<int... index>(std::integer_sequence<int, index...>) __attribute__((always_inline)) {
    (work(std::integral_constant<int, index>()), ...);
  }(std::make_integer_sequence<int, count>());
}

[[gnu::always_inline]] inline float number(const void* numbers, std::ptrdiff_t index, FactorType type) {
  switch (type) {
    case FactorType::f16:
      return static_cast<const mlx::core::float16_t*>(numbers)[index];
    case FactorType::bf16:
      return static_cast<const mlx::core::bfloat16_t*>(numbers)[index];
    default:
      return static_cast<const float*>(numbers)[index];
  }
}

// Where the element of a block is taken.
template <int bits>
constexpr int place(int element) {
  constexpr int elements_of_word = bits_of_word / bits;
  return element % elements_of_word * (packed_block / elements_of_word) + element / elements_of_word;
}

template <int bits>
void arrange_row(const void* row, std::ptrdiff_t step, FactorType type, int columns, float* arranged) {
  for (int block = 0; block < columns; block += packed_block) {
    for (int element = 0; element < packed_block; ++element) {
      arranged[block + place<bits>(element)] = number(row, (block + element) * step, type);
    }
  }
}

// The scales or biases of the columns of a panel, in a row of a matrix.
class GroupNumbers {
 public:
  GroupNumbers(const void* numbers, FactorType type, std::ptrdiff_t first, int count) {
    if (type == FactorType::f32) {
      begin_ = static_cast<const float*>(numbers) + first;
      return;
    }
    for (int group = 0; group < count; ++group) {
      converted_[group] = number(numbers, first + group, type);
    }
    begin_ = converted_.data();
  }
  GroupNumbers(const GroupNumbers&) = delete;
  GroupNumbers& operator=(const GroupNumbers&) = delete;

  const float* at(int group) const { return begin_ + group; }

 private:
  const float* begin_;
  std::array<float, columns_at_once / smallest_group> converted_;
};

// How a block of words becomes numbers, in the order of `place`. Where groups are halves of blocks, a block has two.
template <int lanes, int bits, bool halves>
class Unpacking {
 public:
  [[gnu::always_inline]] static void unpack(const std::uint32_t* words, const float* scales, const float* biases,
                                            float* unpacked) {
    constexpr std::uint32_t mask = (1u << bits) - 1;
    unrolled<parts>([&](auto part) __attribute__((always_inline)) {
      const Floats scale = of_words<part>(scales, Lanes());
      const Floats bias = of_words<part>(biases, Lanes());
      const Words repeated = repeat(load<typename Vector<width>::Words>(words + part * width), Lanes());
      unrolled<packed_block / lanes / parts>([&](auto turn) __attribute__((always_inline)) {
        const auto numbers = typename Vector<lanes>::Signed((repeated >> shifts<turn>(Lanes())) & mask);
        const Floats values = __builtin_convertvector(numbers, Floats) * scale + bias;
        std::memcpy(unpacked + (turn * parts + part) * lanes, &values, sizeof values);
      });
    });
  }

 private:
  using Floats = typename Vector<lanes>::Floats;
  using Words = typename Vector<lanes>::Words;
  using Lanes = std::make_integer_sequence<int, lanes>;

  // A vector takes so many neighbouring words, each so often, with another shift each time.
  static constexpr int words_of_block = packed_block * bits / bits_of_word;
  static constexpr int width = std::min(lanes, words_of_block);
  static constexpr int shifts_at_once = lanes / width;
  static constexpr int parts = words_of_block / width;

  // The numbers of the groups that words belong to.
  template <int part, int... lane>
  [[gnu::always_inline]] static Floats of_words(const float* groups, std::integer_sequence<int, lane...>) {
    if constexpr (halves) {
      // Compilers copy a pair into all lanes only where it is one number.
      std::uint64_t pair;
      std::memcpy(&pair, groups, sizeof pair);
      const Floats both = Floats(typename Vector<lanes>::Pairs{} + pair);
      return __builtin_shufflevector(both, both,
                                     (lane / 4 * 4 + (part * width + lane % width) * 2 / words_of_block)...);
    } else {
      return Floats{} + *groups;
    }
  }

  template <int... lane>
  [[gnu::always_inline]] static Words repeat(typename Vector<width>::Words words, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(words, words, (lane % width)...);
  }

  template <int turn, int... lane>
  [[gnu::always_inline]] static Words shifts(std::integer_sequence<int, lane...>) {
    return Words{((turn * shifts_at_once + lane / width) * bits)...};
  }
};

// So many columns of a row, from a beginning of a block on.
template <int lanes, int bits, bool halves>
[[gnu::always_inline]] inline void unpack_row(const PackedRows& matrix, std::ptrdiff_t row, int column, int columns,
                                              float* unpacked) {
  const int group_shift = std::countr_zero(static_cast<unsigned>(matrix.group_size));
  const std::ptrdiff_t first = row * (matrix.columns >> group_shift) + (column >> group_shift);
  const int groups = ((columns - 1) >> group_shift) + 1;
  const GroupNumbers scales(matrix.scales, matrix.type, first, groups);
  const GroupNumbers biases(matrix.biases, matrix.type, first, groups);
  const std::uint32_t* words = matrix.words + (row * matrix.columns + column) / bits_of_word * bits;
  for (int block = 0; block < columns; block += packed_block) {
    const int group = block >> group_shift;
    Unpacking<lanes, bits, halves>::unpack(words + block / bits_of_word * bits, scales.at(group), biases.at(group),
                                           unpacked + block);
  }
}

// The sums over lanes, in one order.
template <int lanes>
[[gnu::always_inline]] inline float sum(typename Vector<lanes>::Floats vector) {
  if constexpr (lanes == 2) {
    return vector[0] + vector[1];
  } else {
    std::array<typename Vector<lanes / 2>::Floats, 2> halves;
    std::memcpy(&halves, &vector, sizeof vector);
    return sum<lanes / 2>(halves[0] + halves[1]);
  }
}

// Adds to products of so many rows and outputs those of some columns, or sets them.
template <int lanes, int rows, int outputs>
[[gnu::always_inline]] inline void multiply_tile(const float* arranged, std::ptrdiff_t stride, const float* panel,
                                                 int columns, bool added, float* products, std::ptrdiff_t width,
                                                 int wanted) {
  using Floats = typename Vector<lanes>::Floats;
  std::array<std::array<Floats, outputs>, rows> sums{};
  for (int column = 0; column < columns; column += lanes) {
    std::array<Floats, outputs> weights;
    unrolled<outputs>([&](int output) __attribute__((always_inline)) {
      weights[output] = load<Floats>(panel + output * columns_at_once + column);
    });
    unrolled<rows>([&](int row) __attribute__((always_inline)) {
      const Floats factor = load<Floats>(arranged + row * stride + column);
      unrolled<outputs>([&](int output)
                            __attribute__((always_inline)) { sums[row][output] += factor * weights[output]; });
    });
  }
  unrolled<rows>([&](int row) __attribute__((always_inline)) {
    unrolled<outputs>([&](int output) __attribute__((always_inline)) {
      if (output < wanted) {
        float& product = products[row * width + output];
        product = (added ? product : 0) + sum<lanes>(sums[row][output]);
      }
    });
  });
}

template <int lanes, int outputs_of_tile, int bits, bool halves>
[[gnu::always_inline]] inline void multiply_groups(const PackedRows& matrix, const PackedFactor& factor, int first,
                                                   int last) {
  alignas(64) float panel[outputs_of_tile * columns_at_once];
  for (int chunk = 0; chunk < factor.rows; chunk += rows_of_chunk) {
    const int chunk_end = std::min(factor.rows, chunk + rows_of_chunk);
    for (int column = 0; column < matrix.columns; column += columns_at_once) {
      const int columns = std::min(columns_at_once, matrix.columns - column);
      for (int output = first; output < last; output += outputs_of_tile) {
        const int wanted = std::min(outputs_of_tile, last - output);
        for (int row = 0; row < wanted; ++row) {
          unpack_row<lanes, bits, halves>(matrix, output + row, column, columns, panel + row * columns_at_once);
        }
        const auto tile = [&]<int rows>(std::integral_constant<int, rows>,
                                        std::ptrdiff_t row) __attribute__((always_inline)) {
          multiply_tile<lanes, rows, outputs_of_tile>(
              factor.arranged + row * matrix.columns + column, matrix.columns, panel, columns, column > 0,
              factor.products + row * factor.outputs + output, factor.outputs, wanted);
        };
        int row = chunk;
        for (; row + rows_at_once <= chunk_end; row += rows_at_once) {
          tile(std::integral_constant<int, rows_at_once>(), row);
        }
        for (; row < chunk_end; ++row) {
          tile(std::integral_constant<int, 1>(), row);
        }
      }
    }
  }
}

template <int lanes, int outputs_of_tile>
[[gnu::always_inline]] inline void multiply(const PackedRows& matrix, const PackedFactor& factor, int first, int last) {
  const auto multiply_bits = [&]<int bits>(std::integral_constant<int, bits>) __attribute__((always_inline)) {
    if (matrix.group_size < packed_block) {
      multiply_groups<lanes, outputs_of_tile, bits, true>(matrix, factor, first, last);
    } else {
      multiply_groups<lanes, outputs_of_tile, bits, false>(matrix, factor, first, last);
    }
  };
  if (matrix.bits == 4) {
    multiply_bits(std::integral_constant<int, 4>());
  } else {
    multiply_bits(std::integral_constant<int, 8>());
  }
}

// The sums of four rows and these outputs take most of the registers.
#if defined(__x86_64__)

constexpr int outputs_of_avx512 = 6;
constexpr int outputs_of_avx2 = 2;
constexpr int outputs_of_sse = 2;

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]] void multiply_avx512(const PackedRows& matrix,
                                                                                    const PackedFactor& factor,
                                                                                    int first, int last) {
  multiply<16, outputs_of_avx512>(matrix, factor, first, last);
}

[[gnu::target("avx2,fma")]] void multiply_avx2(const PackedRows& matrix, const PackedFactor& factor, int first,
                                               int last) {
  multiply<8, outputs_of_avx2>(matrix, factor, first, last);
}

void multiply_sse(const PackedRows& matrix, const PackedFactor& factor, int first, int last) {
  multiply<4, outputs_of_sse>(matrix, factor, first, last);
}

std::vector<PackedKernel> kernels_of_processor() {
  std::vector<PackedKernel> kernels;
  if (vectors().avx512) {
    kernels.push_back({.processor = "AVX-512", .multiply = multiply_avx512, .outputs_at_once = outputs_of_avx512});
  }
  if (vectors().avx2) {
    kernels.push_back({.processor = "AVX2", .multiply = multiply_avx2, .outputs_at_once = outputs_of_avx2});
  }
  kernels.push_back({.processor = "SSE2", .multiply = multiply_sse, .outputs_at_once = outputs_of_sse});
  return kernels;
}

#else

constexpr int outputs_of_neon = 6;

void multiply_neon(const PackedRows& matrix, const PackedFactor& factor, int first, int last) {
  multiply<4, outputs_of_neon>(matrix, factor, first, last);
}

std::vector<PackedKernel> kernels_of_processor() {
  return {{.processor = "NEON", .multiply = multiply_neon, .outputs_at_once = outputs_of_neon}};
}

#endif

}  // namespace

void arrange(const void* row, std::ptrdiff_t step, FactorType type, int columns, int bits, float* arranged) {
  if (bits == 4) {
    arrange_row<4>(row, step, type, columns, arranged);
  } else {
    arrange_row<8>(row, step, type, columns, arranged);
  }
}

std::span<const PackedKernel> packed_kernels() {
  static const auto* const kernels = new std::vector<PackedKernel>(kernels_of_processor());
  return *kernels;
}

}  // namespace mlx_nif
