// MLX computes the outputs from the last to the first, where they are many. So those go last that are computed in few
// steps: each gradient of a network, which is propagated back from its last layer to its first, is used up by the
// parameters of its layer as soon as it is there. In another order, such as that of names, most gradients would wait
// for their turn.
#include "core/evaluation/output_order.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/handles/nodes.hpp"

namespace mlx_nif {
namespace {

// MLX takes as many abreast, whatever their order.
constexpr std::size_t few = 20;

// The depths of nodes. It is asked once for each input of each node, and a third of the time that std::unordered_map
// takes for that would be felt in a short step of a large network.
class DepthTable {
 public:
  DepthTable() : entries_(1024) {}

  // That of a node, which is 0 when it was not there before.
  int& of(const mlx::core::array& node) {
    if (2 * used_ >= entries_.size()) {
      grow();
    }
    Entry& entry = find(node.id());
    if (entry.id == 0) {
      entry.id = node.id();
      ++used_;
    }
    return entry.depth;
  }

 private:
  struct Entry {
    std::uintptr_t id = 0;
    int depth = 0;
  };

  // The entry, or the free one where it belongs. The low bits of addresses are alike.
  Entry& find(std::uintptr_t id) {
    std::size_t place = (id >> 4) * 0x9E3779B97F4A7C15 >> 20;
    while (true) {
      Entry& entry = entries_[place++ & (entries_.size() - 1)];
      if (entry.id == id || entry.id == 0) {
        return entry;
      }
    }
  }

  void grow() {
    const std::vector<Entry> former = std::exchange(entries_, std::vector<Entry>(4 * entries_.size()));
    for (const Entry& entry : former) {
      if (entry.id != 0) {
        find(entry.id) = entry;
      }
    }
  }

  // Their number is a power of two.
  std::vector<Entry> entries_;
  std::size_t used_ = 0;
};

// How many operations follow each other up to a node, of those that are still to be scheduled.
class Depths {
 public:
  int of(const mlx::core::array& output) {
    // What is below the output is below a visit that stays.
    open_.assign(1, Visit{});
    look_at(output);
    while (open_.size() > 1) {
      if (Visit& last = open_.back(); last.next_input < last.node->inputs().size()) {
        look_at(last.node->inputs()[last.next_input++]);
      } else {
        const int depth = last.depth + 1;
        depths_.of(*last.node) = depth;
        open_.pop_back();
        raise_last(depth);
      }
    }
    return open_.back().depth;
  }

 private:
  // Its depth is that of the deepest input so far. The graph holds the node.
  struct Visit {
    const mlx::core::array* node = nullptr;
    std::size_t next_input = 0;
    int depth = 0;
  };

  void look_at(const mlx::core::array& node) {
    if (!is_unscheduled(node)) {
      return;
    }
    if (const int depth = depths_.of(node); depth > 0) {
      raise_last(depth);
    } else {
      open_.push_back(Visit{&node});
    }
  }

  void raise_last(int depth) { open_.back().depth = std::max(open_.back().depth, depth); }

  DepthTable depths_;
  std::vector<Visit> open_;
};

}  // namespace

std::vector<mlx_array> in_order_of_need(std::span<const mlx_array> outputs) {
  std::vector<mlx_array> ordered(outputs.begin(), outputs.end());
  if (outputs.size() <= few) {
    return ordered;
  }
  Depths depths;
  std::vector<std::pair<int, mlx_array>> by_depth;
  by_depth.reserve(outputs.size());
  for (const mlx_array output : outputs) {
    by_depth.emplace_back(depths.of(array_of(output)), output);
  }
  std::ranges::stable_sort(by_depth, std::ranges::greater(), [](const auto& output) { return output.first; });
  std::ranges::transform(by_depth, ordered.begin(), [](const auto& output) { return output.second; });
  return ordered;
}

}  // namespace mlx_nif
