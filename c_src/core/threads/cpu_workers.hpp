// The threads that compute pieces of an operation on a CPU, for all kernels of this library.
#pragma once

#include <algorithm>
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

}  // namespace mlx_nif
