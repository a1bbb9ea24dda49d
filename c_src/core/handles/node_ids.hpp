// A set of nodes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mlx_nif {

// The identities of nodes, which are addresses. Walks over graphs spend much of their time here, and the sets of the
// standard library allocate memory for each element.
class NodeIds {
 public:
  // False when it was there.
  bool insert(std::uintptr_t id) {
    if (2 * (count_ + 1) > slots_.size()) {
      grow();
    }
    std::uintptr_t& slot = slot_of(id);
    const bool is_new = slot == 0;
    slot = id;
    count_ += is_new ? 1 : 0;
    return is_new;
  }

 private:
  // That of the id, or the free one where it belongs. At least every second slot is free.
  std::uintptr_t& slot_of(std::uintptr_t id) {
    constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;
    const int bits = std::countr_zero(slots_.size());
    std::size_t place = static_cast<std::size_t>((id * odd) >> (64 - bits));
    while (slots_[place] != 0 && slots_[place] != id) {
      place = (place + 1) & (slots_.size() - 1);
    }
    return slots_[place];
  }

  void grow() {
    std::vector<std::uintptr_t> former(slots_.empty() ? 16 : 2 * slots_.size(), 0);
    former.swap(slots_);
    for (const std::uintptr_t id : former) {
      if (id != 0) {
        slot_of(id) = id;
      }
    }
  }

  // Their number is a power of two. 0 is free.
  std::vector<std::uintptr_t> slots_;
  std::size_t count_ = 0;
};

}  // namespace mlx_nif
