#include "core/holdings.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <mutex>
#include <unordered_map>

namespace mlx_nif {
namespace {

// Less is not worth a collection, which takes a small process as long as a small operation.
constexpr std::int64_t least_threshold = std::int64_t{1} << 20;

// What another process may have made before it is collected for an evaluation.
constexpr std::int64_t least_overfull = std::int64_t{16} << 20;

constexpr std::size_t least_processes_swept = 1024;

class Registry {
 public:
  // Never destroyed: the VM runs static destructors while its threads still free arrays.
  static Registry& instance() {
    static Registry* const registry = new Registry;
    return *registry;
  }

  std::shared_ptr<Holdings> of(Holdings::Process process) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<Holdings>& entry = holdings_[process];
    std::shared_ptr<Holdings> found = entry.lock();
    if (!found) {
      found = std::make_shared<Holdings>(process);
      entry = found;
      sweep();
    }
    return found;
  }

  std::vector<std::shared_ptr<Holdings>> all() {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<Holdings>> all;
    for (const auto& [process, entry] : holdings_) {
      if (auto holdings = entry.lock()) {
        all.push_back(std::move(holdings));
      }
    }
    return all;
  }

 private:
  // Forgets the processes without arrays, once there are twice as many entries as were left the last time.
  void sweep() {
    if (holdings_.size() < next_sweep_) {
      return;
    }
    std::erase_if(holdings_, [](const auto& entry) { return entry.second.expired(); });
    next_sweep_ = std::max(least_processes_swept, 2 * holdings_.size());
  }

  std::mutex mutex_;
  std::unordered_map<Holdings::Process, std::weak_ptr<Holdings>> holdings_;
  std::size_t next_sweep_ = least_processes_swept;
};

}  // namespace

std::shared_ptr<Holdings> Holdings::of(Process process) {
  // A scheduler runs many calls of one process after the other.
  thread_local std::shared_ptr<Holdings> last;
  if (!last || last->process() != process) {
    last = Registry::instance().of(process);
  }
  return last;
}

// By the growth as it is found: it goes on changing while they are sorted.
std::vector<Growth> Holdings::grown_by(std::int64_t bytes) {
  std::vector<Growth> grown;
  for (auto& holdings : Registry::instance().all()) {
    if (const std::int64_t growth = holdings->growth(); growth >= bytes) {
      grown.push_back({std::move(holdings), growth});
    }
  }
  std::ranges::sort(grown, std::ranges::greater(), &Growth::bytes);
  return grown;
}

Holdings::Holdings(Process process) : process_(process), threshold_(least_threshold) {}

Holdings::~Holdings() {
  set_overfull(false);
}

void Holdings::add(std::int64_t bytes) {
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (growth() > std::max(least_overfull, threshold_.load(std::memory_order_relaxed))) {
    set_overfull(true);
  }
}

void Holdings::remove(std::int64_t bytes) {
  const std::int64_t left = bytes_.fetch_sub(bytes, std::memory_order_relaxed) - bytes;
  if (left < level_.load(std::memory_order_relaxed)) {
    level_.store(left, std::memory_order_relaxed);
  }
}

// Where most was alive, the next collection waits for twice as much: a process that only adds to what it holds is
// collected a few times, and one that leaves garbage each time it is worth it.
void Holdings::collected(std::int64_t growth_before) {
  const std::int64_t alive = growth();
  const bool worth_it = growth_before - alive > growth_before / 2;
  const std::int64_t most = std::max(least_threshold, bytes_.load(std::memory_order_relaxed));
  threshold_.store(worth_it ? least_threshold : std::min(2 * std::max(growth_before, least_threshold), most),
                   std::memory_order_relaxed);
  level_.fetch_add(alive, std::memory_order_relaxed);
  set_overfull(false);
}

void Holdings::postpone_collection() {
  threshold_.store(growth() + growth() / 2, std::memory_order_relaxed);
  set_overfull(false);
}

void Holdings::set_overfull(bool overfull) {
  if (overfull_.load(std::memory_order_relaxed) != overfull && overfull_.exchange(overfull) != overfull) {
    overfull_processes_.fetch_add(overfull ? 1 : -1, std::memory_order_relaxed);
  }
}

}  // namespace mlx_nif
