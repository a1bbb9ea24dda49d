// Processes that make garbage and end, and a server that keeps an array of theirs.
#include "sanitizers/processes.hpp"

#include <array>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>

#include "core/array/reaper.hpp"
#include "core/memory/holdings.hpp"
#include "sanitizers/crowd.hpp"

namespace mlx_nif::stress {
namespace {

constexpr int matrix_size = 8;

template <typename Message>
class Mailbox {
 public:
  void send(Message message) {
    {
      const std::lock_guard lock(mutex_);
      messages_.push_back(std::move(message));
    }
    changed_.notify_one();
  }

  Message receive() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !messages_.empty(); });
    Message message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
};

struct Request {
  Reference array;
  // Where the reply goes, also when nobody waits for it any more.
  std::shared_ptr<Mailbox<Reference>> sender;
};

// A process that replies with arrays which rest on one of its own and on those that it is sent. It keeps the last one.
class Server {
 public:
  ~Server() { requests_.send(std::nullopt); }

  std::shared_ptr<Mailbox<Reference>> request(const Reference& array) {
    auto sender = std::make_shared<Mailbox<Reference>>();
    requests_.send(Request{array, sender});
    return sender;
  }

 private:
  void serve() {
    begin_process();
    Dice dice(0);
    const Reference weights = matrix(1, matrix_size);
    Reference last;
    while (const std::optional<Request> request = requests_.receive()) {
      last = add(matmul(request->array, weights), 1);
      switch (dice.below(3)) {
        case 0:
          evaluate_now({last});
          break;
        case 1:
          start({last});
          break;
      }
      request->sender->send(last);
    }
  }

  Mailbox<std::optional<Request>> requests_;
  std::jthread thread_{[this] { serve(); }};
};

// Of all processes that anybody remembers.
std::vector<Growth> all_holdings() {
  return Holdings::grown_by(std::numeric_limits<std::int64_t>::min());
}

void collect_all(Dice& dice) {
  for (const auto& [holdings, growth] : all_holdings()) {
    if (holdings->collection_due() && dice.below(4) == 0) {
      holdings->postpone_collection();
    } else if (dice.below(2) == 0) {
      holdings->collected_by_others(growth);
    } else {
      holdings->collected(growth);
    }
  }
}

void make_garbage(int count) {
  Reference sum = value(0);
  for (int number = 0; number < count; ++number) {
    sum = add(sum, 1);
  }
}

// Arrays outlive the processes that made them: many processes are known at the same time.
using Kept = std::array<Reference, 16>;

void live_and_end(Server& server, Kept& kept, Dice& dice) {
  begin_process();
  make_garbage(dice.below(40));
  kept[dice.below(static_cast<int>(kept.size()))] = add(value(1), 1);
  const auto number = static_cast<float>(dice.below(10));
  const auto reply = server.request(add(matrix(number, matrix_size), 1));
  if (dice.below(3) == 0) {
    return;
  }
  const Reference array = reply->receive();
  if (dice.below(3) > 0) {
    expect_equal(read(add(array, 1)), matrix_size * (number + 1) + 2, "a reply");
  }
}

}  // namespace

void processes_collected_while_they_end() {
  {
    Server server;
    std::jthread collector([](const std::stop_token& stop) {
      Dice dice(0);
      while (!stop.stop_requested()) {
        collect_all(dice);
        std::this_thread::yield();
      }
    });
    in_parallel([&](int index) {
      Dice dice(index);
      Kept kept;
      for (int round = 0; round < rounds * 4; ++round) {
        live_and_end(server, kept, dice);
      }
    });
  }
  Reaper::instance().stop();
  for (const Growth& growth : all_holdings()) {
    expect_equal(static_cast<float>(growth.bytes), 0, "what a process holds that has ended");
  }
  if (Holdings::any_overfull()) {
    fail("a process that has ended is to be collected");
  }
}

}  // namespace mlx_nif::stress
