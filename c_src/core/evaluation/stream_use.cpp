// A lock that many share or one has alone, and in which nobody waits for ever.
#include "core/evaluation/stream_use.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

constexpr auto longest_courtesy = std::chrono::seconds(1);

class Users {
 public:
  bool try_share() {
    const std::lock_guard lock(mutex_);
    const bool admitted = admits();
    sharing_ += admitted ? 1 : 0;
    return admitted;
  }

  void share() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return admits(); });
    ++sharing_;
  }

  void stop_sharing() {
    const std::lock_guard lock(mutex_);
    if (--sharing_ == 0) {
      changed_.notify_all();
    }
  }

  void be_alone() {
    std::unique_lock lock(mutex_);
    const auto unused = [this] { return !alone_ && sharing_ == 0; };
    if (!changed_.wait_for(lock, longest_courtesy, unused)) {
      ++impatient_;
      changed_.wait(lock, unused);
      --impatient_;
    }
    alone_ = true;
  }

  void stop_being_alone() {
    const std::lock_guard lock(mutex_);
    alone_ = false;
    changed_.notify_all();
  }

  // Never destroyed: the VM runs static destructors while its threads evaluate.
  static Users& instance() {
    static Users* const users = new Users;
    return *users;
  }

 private:
  bool admits() const { return !alone_ && impatient_ == 0; }

  std::mutex mutex_;
  std::condition_variable changed_;
  int sharing_ = 0;
  int impatient_ = 0;
  bool alone_ = false;
};

}  // namespace

StreamUse::StreamUse(bool alone, Waiting waiting) : alone_(alone) {
  auto& users = Users::instance();
  if (waiting == Waiting::brief) {
    if (alone_ || !users.try_share()) {
      throw NeedsDirtyScheduler();
    }
  } else if (alone_) {
    users.be_alone();
  } else {
    users.share();
  }
}

StreamUse::~StreamUse() {
  if (alone_) {
    Users::instance().stop_being_alone();
  } else {
    Users::instance().stop_sharing();
  }
}

}  // namespace mlx_nif
