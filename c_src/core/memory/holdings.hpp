// What the processes of Elixir hold: the bytes of the arrays that each of them made.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace mlx_nif {

class Holdings;

// By how many bytes something has grown since the last collection of its process, whoever had it collected.
struct Growth {
  std::shared_ptr<Holdings> holdings;
  std::int64_t bytes;
};

// The arrays that one process made and that are still referred to, by this process or by another. How many of them are
// dead shows only after a garbage collection of the process; before that it is known how many came since the last one.
class Holdings {
 public:
  // A process, as the virtual machine names it.
  using Process = std::uint64_t;

  explicit Holdings(Process process);
  ~Holdings();
  Holdings(const Holdings&) = delete;
  Holdings& operator=(const Holdings&) = delete;

  // Those of a process, which are made when it has none yet.
  static std::shared_ptr<Holdings> of(Process process);

  // Those that grew by so many bytes or more since the last collection of their processes, the largest growth first.
  static std::vector<Growth> grown_by(std::int64_t bytes);

  // Those of processes that have made so much that who evaluates should have them collected first, the largest growth
  // first; and whether there are any.
  static std::vector<Growth> all_overfull();
  static bool any_overfull() { return overfull_processes_.load(std::memory_order_relaxed) > 0; }

  Process process() const { return process_; }

  void add(std::int64_t bytes);
  void remove(std::int64_t bytes);

  // The bytes that were made since the process collected itself last, and since it was collected last by whomever, and
  // are still there.
  std::int64_t growth() const { return growth_since(own_); }
  std::int64_t growth_since_any() const { return growth_since(any_); }

  // Whether it is worth the time of the process to collect itself.
  bool collection_due() const { return growth() > own_.threshold.load(); }

  // The process collected itself: what is left of the growth that it was collected for is alive.
  void collected(std::int64_t growth_before);

  // It was collected in part, and to collect the rest is not worth its time before the growth is half as much again.
  void postpone_collection();

  // Others had the process collected, and leave it alone with what is left of the growth that they saw. They may have
  // come while it builds a graph: what it held then can be dead when it evaluates, for which it looks itself.
  void collected_by_others(std::int64_t growth_before);

 private:
  // What was there after a collection.
  struct Collection {
    // The bytes then, or the fewest since then.
    std::atomic<std::int64_t> level{0};
    // The growth from which on the next one is worth its time.
    std::atomic<std::int64_t> threshold;
  };

  std::int64_t growth_since(const Collection& collection) const { return bytes_.load() - collection.level.load(); }
  void settle(Collection& collection, std::int64_t growth_before);
  static void lower_level(Collection& collection, std::int64_t bytes);
  bool is_overfull() const;
  void update_overfull();
  void set_overfull(bool overfull);

  const Process process_;
  // Who changes one of these looks at the others afterwards, so all threads see the changes in the same order.
  std::atomic<std::int64_t> bytes_{0};
  // The last one by the process itself, and the last one by whomever.
  Collection own_;
  Collection any_;
  std::atomic<bool> overfull_{false};
  inline static std::atomic<int> overfull_processes_{0};
};

// The share that one array has in what its process holds, while the array is there.
class Holding {
 public:
  Holding() = default;
  Holding(std::shared_ptr<Holdings> holdings, std::int64_t bytes) : holdings_(std::move(holdings)), bytes_(bytes) {
    holdings_->add(bytes_);
  }
  Holding(Holding&& other) noexcept : holdings_(std::move(other.holdings_)), bytes_(other.bytes_) {}
  Holding& operator=(Holding&&) = delete;
  ~Holding() { end(); }

  void end() {
    if (holdings_) {
      holdings_->remove(bytes_);
      holdings_.reset();
    }
  }

 private:
  std::shared_ptr<Holdings> holdings_;
  std::int64_t bytes_ = 0;
};

}  // namespace mlx_nif
