// The threads that compute pieces of an operation on a CPU, for all kernels of this library.
#pragma once

#include <algorithm>
#include <cstddef>
#include <thread>

#include "core/threads/workers.hpp"

namespace mlx_nif {

inline constinit Workers cpu_workers;

// How many compute at once, with the one that asks.
inline int cpu_threads() {
  static const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return threads;
}

// Calls work(piece) for each number below `pieces`, on several threads where they are free, and waits for the last one.
template <typename Work>
void in_pieces(int pieces, const Work& work) {
  if (pieces > 1 && cpu_workers.run(cpu_threads(), pieces, work)) {
    return;
  }
  for (int piece = 0; piece < pieces; ++piece) {
    work(piece);
  }
}

// Calls work(begin, end) for ranges that make up all numbers below `count`, which together take so many elements. Few
// elements are soon done: a second thread would have to be woken.
template <typename Work>
void in_ranges(std::size_t count, std::size_t elements, const Work& work) {
  constexpr std::size_t elements_of_piece = 1 << 16;
  constexpr std::size_t most_pieces = 64;
  const std::size_t pieces = std::clamp<std::size_t>(elements / elements_of_piece, 1, std::min(count, most_pieces));
  in_pieces(static_cast<int>(pieces), [&](int piece) { work(count * piece / pieces, count * (piece + 1) / pieces); });
}

}  // namespace mlx_nif
