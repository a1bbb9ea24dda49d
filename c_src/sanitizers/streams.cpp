// Streams are MLX's own; what changes its memory waits until nothing is scheduled on them.
#include "sanitizers/streams.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "core/evaluation/cpu_rest.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/evaluation/stream_use.hpp"
#include "core/evaluation/synchronization.hpp"
#include "core/memory/array_limit.hpp"
#include "core/memory/memory_limits.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {

StreamHandle borrow_stream() {
  return call([](Waiting) {
    StreamHandle stream;
    between_schedules([&] { stream = Streams::instance().borrow(MLX_CPU); });
    return stream;
  });
}

void borrowed_streams() {
  const Reference ones = matrix(1, 16);
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      StreamHandle borrowed = borrow_stream();
      const Reference product = matmul(ones, ones);
      const Reference there = add(product, 1, {.stream = borrowed.get()});
      const Reference back = add(there, product);
      if (index % 2 == 0) {
        start({there});
      }
      if (index % 3 == 0) {
        call([&](Waiting) { synchronize(borrowed.get()); });
      }
      expect_equal(read(back), 33, "a graph across streams");
      Streams::instance().give_back(std::move(borrowed), MLX_CPU);
    }
  });
}

void new_streams() {
  const Reference ones = matrix(1, 16);
  std::mutex mutex;
  std::vector<StreamHandle> borrowed;
  in_parallel([&](int index) {
    for (int round = 0; round < rounds / 8; ++round) {
      if (index < 2) {
        StreamHandle stream = borrow_stream();
        expect_equal(read(add(ones, 1, {.stream = stream.get()})), 2, "a sum on a new stream");
        const std::lock_guard lock(mutex);
        borrowed.push_back(std::move(stream));
      } else {
        expect_equal(read(add(ones, 1)), 2, "a sum beside new streams");
      }
    }
  });
  for (StreamHandle& stream : borrowed) {
    Streams::instance().give_back(std::move(stream), MLX_CPU);
  }
}

void courtesy() {
  std::atomic<bool> alone{false};
  std::jthread waiting;
  {
    const StreamUse long_evaluation(false, Waiting::unlimited);
    waiting = std::jthread([&] {
      const StreamUse load(true, Waiting::unlimited);
      alone = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    try {
      const StreamUse short_evaluation(false, Waiting::brief);
    } catch (const NeedsDirtyScheduler&) {
      fail("an evaluation is held up by one that waits to be alone");
    }
    if (alone) {
      fail("one is alone beside another");
    }
  }
  waiting.join();
  alone = false;
  std::vector<std::jthread> overlapping;
  for (int index = 0; index < 3; ++index) {
    overlapping.emplace_back([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const StreamUse evaluation(false, Waiting::unlimited);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    });
  }
  const auto start = std::chrono::steady_clock::now();
  {
    const StreamUse load(true, Waiting::unlimited);
  }
  if (std::chrono::steady_clock::now() - start > std::chrono::seconds(10)) {
    fail("one that waits to be alone waits for ever");
  }
}

void memory_queries() {
  const std::size_t limit = memory_limit();
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      std::size_t bytes = 0;
      if (index == 0) {
        call([](Waiting) { while_cpu_streams_rest([] { check(mlx_clear_cache()); }); });
        call([&](Waiting) { while_cpu_streams_rest([&] { check(mlx_set_cache_limit(&bytes, 1 << 20)); }); });
        call([](Waiting) { between_schedules([] { check(mlx_reset_peak_memory()); }); });
        call([&](Waiting) { between_schedules([&] { set_memory_limit(limit); }); });
      } else if (index == 1) {
        for (const auto get : {mlx_get_active_memory, mlx_get_cache_memory, mlx_get_peak_memory}) {
          call([&](Waiting) { check(get(&bytes)); });
        }
      }
      const Reference sum = add(matrix(1, 32), 1);
      call([&](Waiting) { check_size(sum->get()); });
      expect_equal(read(sum), 2, "a sum beside memory queries");
    }
  });
}

}  // namespace mlx_nif::stress
