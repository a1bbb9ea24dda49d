// Operations whose values are known, by all threads.
#include "sanitizers/graphs.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

#include "core/array/graph_lock.hpp"
#include "core/array/reaper.hpp"
#include "core/evaluation/cpu_inputs.hpp"
#include "core/handles/error.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {

void own_graphs_over_shared_values() {
  const Reference two = value(2);
  const Reference ones = matrix(1, 16);
  const Reference far_out = value(1e9);
  in_parallel([&](int) {
    for (int round = 0; round < rounds; ++round) {
      Reference sum = two;
      for (int depth = 0; depth < 20; ++depth) {
        sum = add(sum, two);
      }
      expect_equal(read(sum), 42, "a chain");
      expect_equal(read(add(matmul(ones, ones), two)), 18, "a product");
      expect_equal(read(take(ones, far_out)), 1, "a clamped index");
      add(sum, ones);
    }
  });
}

void shared_graphs() {
  for (int round = 0; round < rounds; ++round) {
    std::vector<Reference> shared;
    for (int number = 0; number < 12; ++number) {
      shared.push_back(add(value(static_cast<float>(number)), 1));
    }
    in_parallel([&](int index) {
      Dice dice(round * thread_count + index);
      std::vector<Reference> sums;
      for (int step = 0; step < 12; ++step) {
        const int a = dice.below(12);
        const int b = dice.below(12);
        const Reference sum = add(shared[a], shared[b]);
        if (dice.below(3) == 0) {
          expect_equal(read(sum), static_cast<float>(a + b + 2), "a sum of two graphs");
        }
        if (dice.below(4) == 0) {
          evaluate_now({shared[b], sum, shared[a]});
        }
        sums.push_back(sum);
        if (dice.below(8) == 0) {
          sums.clear();
        }
      }
    });
  }
}

void arrays_passed_on() {
  struct Slot {
    std::mutex mutex;
    Reference array = value(0);
    float expected = 0;
  };
  std::array<Slot, 4> slots;
  in_parallel([&](int index) {
    Dice dice(index);
    Reference array = value(0);
    float expected = 0;
    for (int step = 0; step < rounds * 10; ++step) {
      const auto number = static_cast<float>(dice.below(100));
      array = remainder(add(array, number), 97);
      expected = static_cast<float>((static_cast<int>(expected) + static_cast<int>(number)) % 97);
      if (dice.below(4) == 0) {
        expect_equal(read(array), expected, "a passed array");
      }
      Slot& slot = slots[dice.below(4)];
      const std::lock_guard lock(slot.mutex);
      std::swap(slot.array, array);
      std::swap(slot.expected, expected);
    }
  });
}

void values_used_up() {
  for (int round = 0; round < rounds; ++round) {
    std::vector<Reference> values;
    for (int index = 0; index < thread_count; ++index) {
      values.push_back(add(matrix(static_cast<float>(index), 32), 1));
    }
    evaluate_now(values);
    std::vector<std::vector<Reference>> held(thread_count, values);
    values.clear();
    in_parallel([&](int index) {
      std::vector<Reference> mine = std::move(held[index]);
      for (int next = 0; next < thread_count; ++next) {
        const int chosen = (index + next) % thread_count;
        const Reference sum = add(mine[chosen], 1);
        const ArrayHandle held_value = index == next ? hold(mine[chosen]) : ArrayHandle();
        mine[chosen].reset();
        expect_equal(read(sum), static_cast<float>(chosen + 2), "a sum that may take its input's buffer");
        if (held_value) {
          expect_equal(first_element(held_value), static_cast<float>(chosen + 1), "a binary of an array that is gone");
        }
      }
    });
  }
}

void building_on_arrays_in_flight() {
  const Reference ones = matrix(1, 64);
  in_parallel([&](int) {
    for (int round = 0; round < rounds; ++round) {
      const Reference product = matmul(ones, ones);
      start({product});
      const Reference sum = add(product, 1);
      start({sum, product});
      const Reference last = add(sum, product);
      is_available(product);
      expect_equal(read(last), 129, "a sum over arrays in flight");
      start({add(last, 1)});
    }
  });
}

void sharing_arrays_in_flight() {
  const Reference ones = matrix(1, 64);
  for (int round = 0; round < rounds; ++round) {
    const Reference product = matmul(ones, ones);
    start({product});
    in_parallel([&](int index) {
      const Reference sum = add(product, static_cast<float>(index));
      if (index % 2 == 0) {
        start({sum});
        is_available(product);
      }
      expect_equal(read(sum), static_cast<float>(64 + index), "a sum over another's array in flight");
    });
  }
}

void waiting_for_inputs_in_flight() {
  const Reference ones = matrix(1, 64);
  for (int round = 0; round < rounds; ++round) {
    const Reference product = matmul(ones, ones);
    start({product});
    in_parallel([&](int index) {
      const Reference sum = add(product, static_cast<float>(index));
      {
        Array* const arrays[] = {sum.get()};
        const GraphLock lock(arrays, Waiting::unlimited);
        const mlx_array outputs[] = {sum->get()};
        wait_for_cpu_inputs(outputs);
      }
      expect_equal(is_available(product) ? 1 : 0, 1, "an input in flight that was waited for");
      expect_equal(read(sum), static_cast<float>(64 + index), "a sum over an input that was waited for");
    });
  }
}

void one_array_read_by_all() {
  for (int round = 0; round < rounds; ++round) {
    const Reference product = matmul(matrix(1, 16), matrix(2, 16));
    in_parallel([&](int) { expect_equal(read(product), 32, "an array that all read"); });
  }
}

void siblings_dropped_by_different_threads() {
  for (int round = 0; round < rounds; ++round) {
    const Reference input = add(matrix(3, 16), 1);
    std::vector<std::vector<Reference>> held(thread_count, halves(input));
    in_parallel([&](int index) {
      std::vector<Reference> mine = std::move(held[index]);
      const Reference sum = add(mine[index % 2], 1);
      mine[index % 2].reset();
      if (index < 3) {
        expect_equal(read(sum), 5, "a sum over a half");
      }
      mine.clear();
      if (index == 3) {
        expect_equal(read(input), 4, "the input of halves");
      }
    });
  }
}

void deallocation_of_arrays_in_use() {
  for (int round = 0; round < rounds; ++round) {
    const Reference base = add(value(1), 1);
    in_parallel([&](int index) {
      try {
        for (int step = 0; step < 6; ++step) {
          if (index == step + 1) {
            base->deallocate();
          }
          expect_equal(read(add(base, 1)), 3, "a sum over an array that is being deallocated");
          expect_equal(read(base), 2, "an array that is being deallocated");
        }
      } catch (const ArgumentError&) {
      }
    });
  }
}

void graphs_dropped_unevaluated() {
  for (int round = 0; round < std::max(1, rounds / 8); ++round) {
    const Reference shared = add(value(1), 1);
    in_parallel([&](int index) {
      Reference own = value(1);
      Reference joined = shared;
      for (int node = 0; node < 400; ++node) {
        own = add(own, 1);
        joined = add(joined, static_cast<float>(index));
      }
      if (index == 0) {
        expect_equal(read(add(shared, 1)), 3, "a sum beside dropped graphs");
      } else if (index < 3) {
        Reaper::instance().stop();
      }
    });
  }
  Reference large = value(0);
  for (int node = 0; node < 5000; ++node) {
    large = add(large, 1);
  }
  large.reset();
  Reaper::instance().stop();
}

}  // namespace mlx_nif::stress
