// Knows all processes that hold arrays, and decides when a collection of one is worth its time.
#include "core/memory/holdings.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <mutex>
#include <unordered_map>

namespace mlx_nif {
namespace {

// Less is not worth a collection, which takes a small process as long as a small operation.
constexpr std::int64_t least_threshold = std::int64_t{1} << 20;

// What a process may have made before others have it collected for their evaluations.
constexpr std::int64_t least_overfull = std::int64_t{16} << 20;

// Of which there is a double.
constexpr std::int64_t most_growth = std::numeric_limits<std::int64_t>::max() / 2;

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

// Their growth, as it is now: it goes on changing while they are sorted.
template <typename Condition>
std::vector<Growth> largest_first(const Condition& wanted) {
  std::vector<Growth> found;
  for (auto& holdings : Registry::instance().all()) {
    if (const Growth growth{holdings, holdings->growth_since_any()}; wanted(growth)) {
      found.push_back(growth);
    }
  }
  std::ranges::sort(found, std::ranges::greater(), &Growth::bytes);
  return found;
}

}  // namespace

std::shared_ptr<Holdings> Holdings::of(Process process) {
  // A scheduler runs many calls of one process after the other.
  thread_local std::shared_ptr<Holdings> last;
  if (!last || last->process() != process) {
    last = Registry::instance().of(process);
  }
  return last;
}

std::vector<Growth> Holdings::grown_by(std::int64_t bytes) {
  return largest_first([bytes](const Growth& growth) { return growth.bytes >= bytes; });
}

std::vector<Growth> Holdings::all_overfull() {
  return largest_first([](const Growth& growth) { return growth.holdings->overfull_.load(); });
}

Holdings::Holdings(Process process)
    : process_(process), own_{.threshold = least_threshold}, any_{.threshold = least_threshold} {}

Holdings::~Holdings() {
  set_overfull(false);
}

void Holdings::add(std::int64_t bytes) {
  bytes_.fetch_add(bytes);
  update_overfull();
}

void Holdings::remove(std::int64_t bytes) {
  const std::int64_t left = bytes_.fetch_sub(bytes) - bytes;
  lower_level(own_, left);
  lower_level(any_, left);
  update_overfull();
}

void Holdings::collected(std::int64_t growth_before) {
  settle(own_, growth_before);
  any_.threshold.store(own_.threshold.load());
  any_.level.store(own_.level.load());
  lower_level(any_, bytes_.load());
  update_overfull();
}

void Holdings::collected_by_others(std::int64_t growth_before) {
  settle(any_, growth_before);
  update_overfull();
}

// Where most was alive, the next collection waits for twice as much: a process that only adds to what it holds is
// collected a few times, and one that leaves garbage each time it is worth it.
void Holdings::settle(Collection& collection, std::int64_t growth_before) {
  growth_before = std::clamp(growth_before, std::int64_t{0}, most_growth);
  const std::int64_t alive = growth_since(collection);
  const bool worth_it = growth_before - alive > growth_before / 2;
  const std::int64_t most = std::max(least_threshold, bytes_.load());
  collection.threshold.store(worth_it ? least_threshold : std::min(2 * std::max(growth_before, least_threshold), most));
  collection.level.store(bytes_.load());
  // What was freed meanwhile.
  lower_level(collection, bytes_.load());
}

void Holdings::postpone_collection() {
  for (Collection* collection : {&own_, &any_}) {
    const std::int64_t growth = growth_since(*collection);
    collection->threshold.store(growth + growth / 2);
  }
  update_overfull();
}

void Holdings::lower_level(Collection& collection, std::int64_t bytes) {
  std::int64_t level = collection.level.load();
  while (bytes < level && !collection.level.compare_exchange_weak(level, bytes)) {
  }
}

// Once more when another thread changed the growth meanwhile: whoever is last leaves what is so.
void Holdings::update_overfull() {
  for (bool overfull = is_overfull();; overfull = !overfull) {
    set_overfull(overfull);
    if (is_overfull() == overfull) {
      return;
    }
  }
}

bool Holdings::is_overfull() const {
  return growth_since(any_) > std::max(least_overfull, any_.threshold.load());
}

void Holdings::set_overfull(bool overfull) {
  if (overfull_.load() != overfull && overfull_.exchange(overfull) != overfull) {
    overfull_processes_.fetch_add(overfull ? 1 : -1, std::memory_order_relaxed);
  }
}

}  // namespace mlx_nif
