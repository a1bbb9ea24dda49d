// Loops that the compiler makes vectors of, for each kind of processor: choices are written as it has instructions for
// them. It must not fuse other products and sums than those that are written so, and need not care for errno and traps
// (CMakeLists.txt).
#include "core/kernels/vector_loops.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/kernels/processor.hpp"

namespace mlx_nif {

#if defined(__x86_64__)

namespace {

// e^x as 2^n * 2^f: 2^n by its bits, and 2^f by the polynomial of Cephes that MLX has.
struct Exp {
  [[gnu::always_inline]] float operator()(float x) const {
    constexpr float most = 88.0f;
    const float exponent = x * 1.442695f;
    const float below = std::floor(exponent);
    const float whole = exponent - below >= 0.5f ? below + 1.0f : below;
    const float fraction = exponent - whole;
    float power = 1.535336188319500e-4f;
    power = __builtin_fmaf(power, fraction, 1.339887440266574e-3f);
    power = __builtin_fmaf(power, fraction, 9.618437357674640e-3f);
    power = __builtin_fmaf(power, fraction, 5.550332471162809e-2f);
    power = __builtin_fmaf(power, fraction, 2.402264791363012e-1f);
    power = __builtin_fmaf(power, fraction, 6.931472028550421e-1f);
    power = __builtin_fmaf(power, fraction, 1.0f);
    // Outside of these bounds the bits are not used.
    const float bounded = whole < -127.0f ? -127.0f : whole > 128.0f ? 128.0f : whole;
    const auto bits = static_cast<std::uint32_t>(static_cast<std::int32_t>(bounded) + 127) << 23;
    float result = std::bit_cast<float>(bits) * power;
    result = x > most ? std::numeric_limits<float>::infinity() : result;
    result = x < -most ? 0.0f : result;
    return x != x ? x : result;
  }
};

struct Sigmoid {
  [[gnu::always_inline]] float operator()(float x) const {
    const float part = 1.0f / (1.0f + Exp()(x < 0.0f ? -x : x));
    return x < 0.0f ? part : 1.0f - part;
  }
};

template <typename Function>
[[gnu::always_inline]] inline void for_each(const float* elements, float* results, std::size_t count) {
  for (std::size_t index = 0; index < count; ++index) {
    results[index] = Function()(elements[index]);
  }
}

// Many at a time: a compiler would not compare in another order by itself.
[[gnu::always_inline]] inline float largest(const float* elements, std::size_t count) {
  constexpr std::size_t lanes = 16;
  float parts[lanes];
  for (float& part : parts) {
    part = -std::numeric_limits<float>::infinity();
  }
  std::size_t index = 0;
  for (; index + lanes <= count; index += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      parts[lane] = parts[lane] > elements[index + lane] ? parts[lane] : elements[index + lane];
    }
  }
  for (; index < count; ++index) {
    parts[0] = parts[0] > elements[index] ? parts[0] : elements[index];
  }
  return *std::max_element(parts, parts + lanes);
}

// The sum is made in the order of the elements, as MLX makes it.
[[gnu::always_inline]] inline void softmax_row(const float* elements, float* results, std::size_t count) {
  const float most = largest(elements, count);
  for (std::size_t index = 0; index < count; ++index) {
    results[index] = Exp()(elements[index] - most);
  }
  float sum = 0;
  for (std::size_t index = 0; index < count; ++index) {
    sum += results[index];
  }
  const float share = 1.0f / sum;
  for (std::size_t index = 0; index < count; ++index) {
    results[index] *= share;
  }
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]] void softmax_avx512(const float* elements,
                                                                                   float* results, std::size_t count) {
  softmax_row(elements, results, count);
}

[[gnu::target("avx2,fma")]] void softmax_avx2(const float* elements, float* results, std::size_t count) {
  softmax_row(elements, results, count);
}

template <typename Function>
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]] void for_each_avx512(const float* elements,
                                                                                    float* results, std::size_t count) {
  for_each<Function>(elements, results, count);
}

template <typename Function>
[[gnu::target("avx2,fma")]] void for_each_avx2(const float* elements, float* results, std::size_t count) {
  for_each<Function>(elements, results, count);
}

}  // namespace

VectorLoops vector_loops() {
  if (vectors().avx512) {
    return {.exp = for_each_avx512<Exp>, .sigmoid = for_each_avx512<Sigmoid>, .softmax = softmax_avx512};
  }
  if (vectors().avx2) {
    return {.exp = for_each_avx2<Exp>, .sigmoid = for_each_avx2<Sigmoid>, .softmax = softmax_avx2};
  }
  return {};
}

#else

VectorLoops vector_loops() {
  return {};
}

#endif

}  // namespace mlx_nif
