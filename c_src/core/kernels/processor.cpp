// Asks the processor itself: what compilers offer for it needs a library that zig has not.
#include "core/kernels/processor.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace mlx_nif {

#if defined(__x86_64__)

namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers ask(unsigned leaf) {
  Registers answer;
  __get_cpuid_count(leaf, 0, &answer.eax, &answer.ebx, &answer.ecx, &answer.edx);
  return answer;
}

bool has(unsigned flags, unsigned wanted) {
  return (flags & wanted) == wanted;
}

// The registers that the system saves.
unsigned saved_registers() {
  unsigned low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

}  // namespace

Vectors vectors() {
  constexpr unsigned saved_ymm = 0x6, saved_zmm = 0xe6;
  const Registers features = ask(1);
  if (!has(features.ecx, bit_FMA | bit_AVX | bit_OSXSAVE)) {
    return {};
  }
  const unsigned saved = saved_registers();
  const unsigned extended = ask(7).ebx;
  return {.avx2 = has(saved, saved_ymm) && has(extended, bit_AVX2),
          .avx512 = has(saved, saved_zmm) &&
                    has(extended, bit_AVX2 | bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL)};
}

#else

Vectors vectors() {
  return {};
}

#endif

}  // namespace mlx_nif
