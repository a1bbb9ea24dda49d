// The kernels of products of a few rows, in CUDA's C++.
//
// A block computes 16 outputs of all rows. Its warps share the columns of the matrix in turn: each has a ring of tiles,
// of 16 rows and 128 bytes, that are copied from the device's memory while earlier ones are multiplied. The tensor
// cores take the rows of the matrix for rows and those of the factor for columns, of which they have 8; which column of
// a tile is which k of a product does not matter as long as it is the same in both.
//
// Where a thread has the lane 4 * g + t, it holds rows g and g + 8 of a tile and row g of the factor, a quarter of
// each. Units of 16 bytes change their places with the row, so that the threads read from different banks of memory.
#pragma once

namespace mlx_nif {

// What both kernels call. Before it stand these constants: `is_half`, whether fractions are of f16 and not of bf16;
// `most_rows`, that a kernel takes; `group_size`, how many elements of a quantized matrix have one scale; `is_normed`,
// whether the factor is the RMS norm of x; and `is_added`, whether something is added to the product.
//
// A norm is a factor for each row, which the product is multiplied by in the end, and one for each column, `norm`,
// which x is multiplied by first. Then that product is rounded in the place of the normed x.
inline constexpr const char* skinny_product_functions = R"(
constexpr int warps = 4, tile_rows = 16, tile_units = 128;

using Fraction = unsigned short;

__device__ __forceinline__ float wide(Fraction fraction) {
  float result;
  if constexpr (is_half) {
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(fraction));
  } else {
    result = __uint_as_float(static_cast<unsigned>(fraction) << 16);
  }
  return result;
}

__device__ __forceinline__ Fraction narrow(float number) {
  Fraction result;
  if constexpr (is_half) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(number));
  } else {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(number));
  }
  return result;
}

__device__ __forceinline__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  if constexpr (is_half) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

template <int COUNT>
struct alignas(4 * COUNT) Words {
  unsigned values[COUNT];
};

// Only what begins at a multiple of 16 bytes can be copied in the background.
template <typename... Pointers>
__device__ __forceinline__ bool are_aligned(Pointers... pointers) {
  return ((reinterpret_cast<unsigned long long>(pointers) | ...) & 15) == 0;
}

template <int BYTES>
__device__ __forceinline__ void copy(void* to, const void* from, bool aligned) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  if (!aligned) {
    for (int i = 0; i < BYTES / 2; ++i) {
      static_cast<unsigned short*>(to)[i] = static_cast<const unsigned short*>(from)[i];
    }
  } else if constexpr (BYTES == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from), "n"(BYTES) : "memory");
  }
}

__device__ __forceinline__ void end_of_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until only so many of the last groups of copies are under way.
template <int LEFT>
__device__ __forceinline__ void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Calls `fetch(stage, tile)`, which begins copies into a stage of the ring, and `multiply(stage)`, for the tiles of a
// warp.
template <int STAGES, typename Fetch, typename Multiply>
__device__ __forceinline__ void for_each_tile(int tiles, Fetch fetch, Multiply multiply) {
  for (int stage = 0; stage < STAGES; ++stage) {
    if (threadIdx.y + stage * warps < tiles) fetch(stage, threadIdx.y + stage * warps);
    end_of_copies();
  }
  for (int tile = threadIdx.y, stage = 0; tile < tiles; tile += warps, stage = (stage + 1) % STAGES) {
    await_copies<STAGES - 1>();
    __syncwarp();
    multiply(stage);
    __syncwarp();
    if (tile + STAGES * warps < tiles) fetch(stage, tile + STAGES * warps);
    end_of_copies();
  }
}

// The product of two pairs of bf16.
__device__ __forceinline__ unsigned multiply_pair(unsigned a, unsigned b) {
  unsigned result;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(0x80008000u));
  return result;
}

__device__ __forceinline__ float squares_of_pair(unsigned pair) {
  const float low = wide(static_cast<Fraction>(pair)), high = wide(static_cast<Fraction>(pair >> 16));
  return low * low + high * high;
}

// Eight elements of the factor. Adds the squares of those of x.
__device__ __forceinline__ uint4 factor_of(uint4 x, uint4 norm, float& squares) {
  squares += squares_of_pair(x.x) + squares_of_pair(x.y) + squares_of_pair(x.z) + squares_of_pair(x.w);
  return make_uint4(multiply_pair(x.x, norm.x), multiply_pair(x.y, norm.y), multiply_pair(x.z, norm.z),
                    multiply_pair(x.w, norm.w));
}

struct Outputs {
  Fraction* y;
  const Fraction* addend;
  int rows;
  int outputs;
  int columns;
  float epsilon;
};

// Adds up the warps' parts of the outputs from `first` on.
__device__ __forceinline__ void write_outputs(const Outputs& to, const float (&total)[4], float squares, float* parts,
                                              int first) {
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  float* parts_of_squares = parts + warps * tile_rows * 8;
  await_copies<0>();
  __syncthreads();
  if constexpr (is_normed) {
    squares += __shfl_xor_sync(0xffffffff, squares, 1);
    squares += __shfl_xor_sync(0xffffffff, squares, 2);
    if (t == 0) parts_of_squares[threadIdx.y * 8 + g] = squares;
  }
  float* part = parts + threadIdx.y * tile_rows * 8 + g * 8 + t * 2;
  part[0] = total[0];
  part[1] = total[1];
  part[64] = total[2];
  part[65] = total[3];
  __syncthreads();
  for (int i = threadIdx.y * 32 + lane; i < tile_rows * to.rows; i += warps * 32) {
    const int output = i % tile_rows, row = i / tile_rows;
    if (first + output >= to.outputs) continue;
    float sum = 0, sum_of_squares = 0;
    for (int warp = 0; warp < warps; ++warp) {
      sum += parts[(warp * tile_rows + output) * 8 + row];
      if constexpr (is_normed) sum_of_squares += parts_of_squares[warp * 8 + row];
    }
    if constexpr (is_normed) sum *= rsqrtf(sum_of_squares / to.columns + to.epsilon);
    const long long index = static_cast<long long>(row) * to.outputs + first + output;
    if constexpr (is_added) sum += wide(to.addend[index]);
    to.y[index] = narrow(sum);
  }
}
)";

// y = x @ transpose(w), for `w` {outputs, columns}.
inline constexpr const char* skinny_product_kernel = R"(
extern "C" __global__ void skinny_product(const Fraction* x, const Fraction* w, const Fraction* norm,
                                          const Fraction* addend, Fraction* y, int rows, int outputs, int columns,
                                          float epsilon) {
  constexpr int stages = 4, tile_columns = 64, units = tile_units + 8 * (most_rows + is_normed);
  extern __shared__ uint4 shared[];
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const int tiles = columns / tile_columns, first = blockIdx.x * tile_rows;
  const bool aligned = are_aligned(x, w, norm);
  uint4* ring = shared + threadIdx.y * stages * units;

  auto place = [](int row, int unit) { return row * 8 + (unit ^ (row * 4 & 7)); };
  const Fraction* from[4];
  for (int i = 0; i < 4; ++i) {
    from[i] = w + static_cast<long long>(min(first + i * 4 + lane / 8, outputs - 1)) * columns + lane % 8 * 8;
  }
  auto fetch = [&](int stage, int tile) {
    uint4* to = ring + stage * units;
    for (int i = 0; i < 4; ++i) {
      copy<16>(to + place(i * 4 + lane / 8, lane % 8), from[i] + tile * tile_columns, aligned);
    }
    for (int i = lane; i < 8 * rows; i += 32) {
      copy<16>(to + tile_units + place(i / 8, i % 8),
               x + static_cast<long long>(i / 8) * columns + tile * tile_columns + i % 8 * 8, aligned);
    }
    if (is_normed && lane < 8) {
      copy<16>(to + tile_units + 8 * most_rows + lane, norm + tile * tile_columns + lane * 8, aligned);
    }
  };

  float total[4] = {}, squares = 0;
  for_each_tile<stages>(tiles, fetch, [&](int stage) {
    const uint4* at = ring + stage * units;
    for (int half = 0; half < 2; ++half) {
      const uint4 upper = at[place(g, half * 4 + t)], lower = at[place(g + 8, half * 4 + t)];
      uint4 factor = g < rows ? at[tile_units + place(g, half * 4 + t)] : make_uint4(0, 0, 0, 0);
      if constexpr (is_normed) factor = factor_of(factor, at[tile_units + 8 * most_rows + half * 4 + t], squares);
      multiply_add(total, {upper.x, lower.x, upper.y, lower.y}, factor.x, factor.y);
      multiply_add(total, {upper.z, lower.z, upper.w, lower.w}, factor.z, factor.w);
    }
  });
  write_outputs({y, addend, rows, outputs, columns, epsilon}, total, squares, reinterpret_cast<float*>(shared), first);
}
)";

// y = x @ transpose(w * scales + biases), for `w` {outputs, words} of 4 bits an element. A number of 4 bits in the last
// bits of a fraction makes a power of two that much larger. As `biases` are multiplied by the sum of a group of the
// factor, so is that power, which is subtracted with them.
inline constexpr const char* skinny_quantized_product_kernel = R"(
extern "C" __global__ void skinny_quantized_product(const Fraction* x, const unsigned* w, const Fraction* scales,
                                                    const Fraction* biases, const Fraction* norm,
                                                    const Fraction* addend, Fraction* y, int rows, int outputs,
                                                    int columns, float epsilon) {
  constexpr int stages = 3, tile_columns = 256, words = group_size / 32, groups = tile_columns / group_size;
  constexpr int bytes_of_scales = 2 * groups, factor_units = 32 * (most_rows + is_normed);
  constexpr int units = tile_units + factor_units + 2 * bytes_of_scales;
  constexpr unsigned bits = 0x000f000f, power = is_half ? 0x64006400 : 0x43004300;
  constexpr unsigned one = is_half ? 0x3c003c00 : 0x3f803f80;
  constexpr float power_value = is_half ? 1024 : 128;
  extern __shared__ uint4 shared[];
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const int tiles = columns / tile_columns, first = blockIdx.x * tile_rows;
  const bool aligned = are_aligned(x, w, scales, biases, norm);
  uint4* ring = shared + threadIdx.y * stages * units;

  auto place = [](int row, int unit) { return row * 8 + (unit ^ (row * words & 7)); };
  const unsigned* from[4];
  for (int i = 0; i < 4; ++i) {
    from[i] = w + static_cast<long long>(min(first + i * 4 + lane / 8, outputs - 1)) * tiles * 32 + lane % 8 * 4;
  }
  const Fraction* from_scales =
      (lane < 16 ? scales : biases) + static_cast<long long>(min(first + lane % 16, outputs - 1)) * tiles * groups;
  auto fetch = [&](int stage, int tile) {
    uint4* to = ring + stage * units;
    for (int i = 0; i < 4; ++i) {
      copy<16>(to + place(i * 4 + lane / 8, lane % 8), from[i] + tile * 32, aligned);
    }
    for (int row = 0; row < rows; ++row) {
      copy<16>(to + tile_units + row * 32 + (lane ^ row),
               x + (static_cast<long long>(row) * tiles + tile) * tile_columns + lane * 8, aligned);
    }
    if constexpr (is_normed) {
      copy<16>(to + tile_units + 32 * most_rows + lane, norm + tile * tile_columns + lane * 8, aligned);
    }
    Fraction* to_scales = reinterpret_cast<Fraction*>(to + tile_units + factor_units);
    copy<bytes_of_scales>(to_scales + lane * groups, from_scales + tile * groups, aligned);
  };

  float total[4] = {}, squares = 0;
  for_each_tile<stages>(tiles, fetch, [&](int stage) {
    const uint4* at = ring + stage * units;
    const Fraction* of_groups = reinterpret_cast<const Fraction*>(at + tile_units + factor_units);
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      const int word = (group * 4 + t) * words;
      const auto* row = reinterpret_cast<const Words<words>*>(at + place(g, word / 4)) + word % 4 / words;
      const Words<words> upper = row[0], lower = row[8 * 8 * 4 / words];
      float sum[4] = {}, sum_of_factor[4] = {};
#pragma unroll
      for (int i = 0; i < words; ++i) {
        uint4 factor = g < rows ? at[tile_units + g * 32 + ((word + i) ^ g)] : make_uint4(0, 0, 0, 0);
        if constexpr (is_normed) factor = factor_of(factor, at[tile_units + 32 * most_rows + word + i], squares);
        const unsigned f0 = __byte_perm(factor.x, factor.z, 0x5410), f1 = __byte_perm(factor.x, factor.z, 0x7632);
        const unsigned f2 = __byte_perm(factor.y, factor.w, 0x5410), f3 = __byte_perm(factor.y, factor.w, 0x7632);
        const unsigned a = upper.values[i], b = lower.values[i];
        multiply_add(sum, {a & bits | power, b & bits | power, a >> 4 & bits | power, b >> 4 & bits | power}, f0, f1);
        multiply_add(sum,
                     {a >> 8 & bits | power, b >> 8 & bits | power, a >> 12 & bits | power, b >> 12 & bits | power}, f2,
                     f3);
        multiply_add(sum_of_factor, {one, one, one, one}, f0, f1);
        multiply_add(sum_of_factor, {one, one, one, one}, f2, f3);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float scale = wide(of_groups[(g + 8 * i) * groups + group]);
        const float bias = wide(of_groups[(g + 8 * i + 16) * groups + group]) - power_value * scale;
        total[2 * i] += scale * sum[2 * i] + bias * sum_of_factor[2 * i];
        total[2 * i + 1] += scale * sum[2 * i + 1] + bias * sum_of_factor[2 * i + 1];
      }
    }
  });
  write_outputs({y, addend, rows, outputs, columns, epsilon}, total, squares, reinterpret_cast<float*>(shared), first);
}
)";

}  // namespace mlx_nif
