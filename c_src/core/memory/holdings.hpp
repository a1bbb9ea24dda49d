// What the processes of Elixir hold: the bytes of the arrays that each of them made.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace mlx_nif {

class Holdings;

// By how many bytes something has grown since the last collection of its process.
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

  // The bytes that were made since the last collection and are still there.
  std::int64_t growth() const { return bytes_.load() - level_.load(); }

  // Whether a collection is worth its time.
  bool collection_due() const { return growth() > threshold_.load(); }

  // The process was collected: what is left of the growth that it was collected for is alive.
  void collected(std::int64_t growth_before);

  // It was collected in part, and to collect the rest is not worth its time before the growth is half as much again.
  void postpone_collection();

 private:
  void lower_level(std::int64_t bytes);
  bool is_overfull() const;
  void update_overfull();
  void set_overfull(bool overfull);

  const Process process_;
  // Who changes one of these looks at the others afterwards, so all threads see the changes in the same order.
  std::atomic<std::int64_t> bytes_{0};
  // The bytes after the last collection, or the fewest since then.
  std::atomic<std::int64_t> level_{0};
  std::atomic<std::int64_t> threshold_;
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
