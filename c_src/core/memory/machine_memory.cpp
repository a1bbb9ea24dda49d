// Chooses parts of the memory of the machine, and has glibc keep what is freed.
#include "core/memory/machine_memory.hpp"

#include <mlx/c/mlx.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>

#include "core/handles/error.hpp"
#include "core/memory/array_limit.hpp"
#include "core/memory/memory_limits.hpp"

namespace mlx_nif {
namespace {

constexpr std::size_t most_free_bytes = std::size_t{256} << 20;
constexpr std::size_t parts_of_memory = 16;
constexpr std::size_t parts_of_metal_memory = 4;

// As MLX does of the memory of a machine.
constexpr std::size_t used_fifths = 4;

}  // namespace

void keep_free_buffers() {
  bool metal = false;
  check(mlx_metal_is_available(&metal));
  const std::size_t bytes =
      metal ? memory_limit() / parts_of_metal_memory : std::min(most_free_bytes, memory_limit() / parts_of_memory);
  const std::size_t previous = set_cache_limit(bytes);
  if (previous > bytes && !metal) {
    set_cache_limit(previous);
  }
}

// The virtual machine holds glibc to mapping all of 128 KiB and more, and to unmapping it when it is freed, which
// interrupts every thread: for each buffer, and for each product of OpenBLAS. Else glibc raises the size by need, to
// this.
void keep_free_mappings() {
#ifdef __GLIBC__
  constexpr int greatest_threshold = 32 << 20;
  mallopt(M_MMAP_THRESHOLD, greatest_threshold);
  mallopt(M_TRIM_THRESHOLD, 2 * greatest_threshold);
#endif
}

void keep_within_room(std::size_t room) {
  const std::size_t bytes = room / 5 * used_fifths;
  if (bytes < memory_limit()) {
    set_memory_limit(bytes);
    set_array_limit(bytes);
    set_cache_limit(std::min(cache_limit(), bytes / parts_of_memory));
  }
}

}  // namespace mlx_nif
