// Puts the core under stress from many threads, as the VM's schedulers do, for a sanitizer to watch.
//
//   stress [ROUNDS [SCENARIO]]           runs every scenario, or that one; its values are checked as well
//   stress --self-check thread|address   makes a mistake on purpose, which that sanitizer has to report
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/array/graph_lock.hpp"
#include "core/array/reaper.hpp"
#include "core/evaluation/cpu_inputs.hpp"
#include "core/evaluation/cpu_rest.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/evaluation/stream_use.hpp"
#include "core/evaluation/synchronization.hpp"
#include "core/evaluation/values.hpp"
#include "core/handles/error.hpp"
#include "core/memory/array_limit.hpp"
#include "core/memory/memory_limits.hpp"
#include "core/streams/late_failure.hpp"
#include "core/threads/main_thread.hpp"
#include "sanitizers/ahead.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/double_precision.hpp"
#include "sanitizers/kernels.hpp"
#include "sanitizers/late_failures.hpp"
#include "sanitizers/operations.hpp"
#include "sanitizers/processes.hpp"
#include "sanitizers/recorded.hpp"

namespace mlx_nif::stress {
namespace {

void save(const std::filesystem::path& path, const ArrayHandle& value) {
  const auto bytes = bytes_of(value.get(), Waiting::unlimited);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

float load_first(const std::filesystem::path& path) {
  float element = 0;
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(&element), sizeof(element));
  return element;
}

// Graphs of one thread each have only values in common.
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

// Every thread builds on arrays that are not evaluated, joins their graphs, evaluates what it likes of them, and drops
// the rest while others evaluate.
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

// Arrays go from thread to thread, as in messages, and are dropped by whoever has them last.
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

// Values are passed on and used up: MLX writes into the buffer of an input that nobody else holds.
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

// An evaluation is started, and the thread goes on with the arrays that it has not computed yet.
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

// One thread's evaluation in flight is another's operand.
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

// As on CUDA, where a GPU may not wait for a CPU stream.
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

// Outputs of one operation know each other inside MLX.
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

// Threads use an array while one of them deallocates it.
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

void expect_error(const Reference& array, std::string_view what) {
  try {
    read(array);
    fail(std::format("{}: no error", what));
  } catch (const Error&) {
  }
}

// What rests on a failure raises when it is read, or when it is made if the failure is known by then.
template <typename Make>
void expect_error_at_once_or_later(const Make& make, std::string_view what) {
  try {
    expect_error(make(), what);
  } catch (const Error&) {
  }
}

// The same for an evaluation on a dirty scheduler, as all are where there is a GPU.
template <typename Make>
void expect_error_after_waiting(const Make& make, std::string_view what) {
  Streams::instance().adopt_thread();
  try {
    evaluate(Operands{make()}.all(), Waiting::unlimited);
    fail(std::format("{}: no error", what));
  } catch (const Error&) {
  }
}

// An error on a worker thread must reach the graph that it belongs to, and no other.
void failures_beside_healthy_graphs() {
  const Reference zeros = matrix(0, 4);
  const Reference ones = matrix(1, 4);
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      if (index % 4 == 0) {
        const Reference singular = inverse(zeros);
        Reference dependent = singular;
        for (int node = 0; node < 20; ++node) {
          dependent = add(dependent, 1);
        }
        expect_error(dependent, "an inverse of a singular matrix");
        expect_error(singular, "an inverse of a singular matrix, again");
      } else if (index % 4 == 1) {
        const Reference singular = inverse(zeros);
        try {
          start({singular, add(ones, 1)});
          fail("an evaluation of a singular inverse was started without an error");
        } catch (const Error&) {
        }
      } else {
        expect_equal(read(add(matmul(ones, ones), 1)), 5, "a healthy graph beside one that fails");
        start({add(ones, ones)});
      }
    }
  });
}

// All threads use the same graph, whose evaluation fails.
void failures_of_shared_graphs() {
  for (int round = 0; round < rounds; ++round) {
    const Reference singular = inverse(add(matrix(0, 4), 0));
    in_parallel([&](int index) {
      try {
        expect_error(add(singular, static_cast<float>(index)), "a shared singular inverse");
      } catch (const Error&) {
        // The graph had failed before the sum was made.
      }
    });
  }
}

StreamHandle borrow_stream() {
  return call([](Waiting) {
    StreamHandle stream;
    between_schedules([&] { stream = Streams::instance().borrow(MLX_CPU); });
    return stream;
  });
}

// Threads borrow streams, let graphs go across them, and give them back while others borrow.
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

// Streams that nobody has given back yet make MLX start new ones while others evaluate.
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

// Graphs that are too large to be freed at once, or whose lock is held, are left to the reaper, which may be stopped
// and starts again.
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

// What asks for and changes MLX's memory while others compute.
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

// One transformed function is applied by all threads, to graphs of their own and to a shared one.
void transformed_functions() {
  const auto program = square_times();
  const auto gradient = transforms::value_and_grad(program, {0});
  const auto rows = transforms::vmap(program, {0, -1}, {0});
  const Reference shared = add(value(1), 1);
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      const Reference x = add(value(static_cast<float>(index)), 1);
      const auto results = run_recorded(*gradient, {x, shared});
      expect_equal(read(results[1]), static_cast<float>(4 * (index + 1)), "a gradient");
      expect_equal(read(results[0]), static_cast<float>(2 * (index + 1) * (index + 1)), "a value beside a gradient");
      expect_equal(read(run_recorded(*rows, {add(matrix(3, 4), 0), shared})[0]), 18, "a mapped function");
    }
  });
}

// Threads call compiled functions, whose first call compiles, and drop them.
void compiled_functions() {
  const auto program = square_times();
  const auto shared = std::make_shared<CompiledFunction>(program, false);
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      const auto own = std::make_shared<CompiledFunction>(program, false);
      const Reference x = add(value(static_cast<float>(index)), 1);
      const float expected = static_cast<float>(2 * (index + 1) * (index + 1));
      expect_equal(read(run_recorded(round % 4 == 0 ? *own : *shared, {x, value(2)})[0]), expected,
                   "a compiled function");
    }
  });
}

// Half of the threads write values to files, as saving does, while the others evaluate with the same values.
void saved_values() {
  const Reference shared = matrix(3, 64);
  in_parallel([&](int index) {
    const auto path = std::filesystem::temp_directory_path() / std::format("mlx_stress_{}.bin", index);
    for (int round = 0; round < rounds; ++round) {
      const auto number = static_cast<float>(round % 7);
      const Reference sum = add(shared, number);
      if (index % 2 == 1) {
        expect_equal(read(matmul(sum, shared)), 64 * 3 * (3 + number), "a product beside saving");
        continue;
      }
      for (const Reference& array : {sum, shared}) {
        save(path, hold(array));
        expect_equal(load_first(path), array == sum ? 3 + number : 3, "a saved value");
      }
    }
    std::filesystem::remove(path);
  });
}

// All threads run one loop, over arrays of their own and over one that is not evaluated at first.
void loops() {
  const auto loop = sum_up(10);
  const Reference shared = add(value(1), 2);
  in_parallel([&](int index) {
    for (int round = 0; round < rounds; ++round) {
      const Reference start = add(value(static_cast<float>(index)), 0);
      const float sum = read(execute(*loop, {start, shared})[0]);
      if (sum < 10 || sum >= 13 + static_cast<float>(index)) {
        expect_equal(sum, 10, "a loop");
      }
    }
  });
}

// All threads call one function from a file, the first of them before its array is read.
void imported_functions() {
  const std::string path = (std::filesystem::temp_directory_path() / "mlx_stress.mlxfn").string();
  const Reference added = value(5);
  for (int round = 0; round < rounds / 10 + 1; ++round) {
    const auto function = written_and_read(path, added);
    in_parallel([&](int index) {
      const Reference x = add(value(static_cast<float>(index)), 1);
      expect_equal(read(run_recorded(*function, {x})[0]), static_cast<float>(index + 6), "an imported function");
    });
  }
  std::filesystem::remove(path);
}

// Each thread has a stream where some evaluations fail after they were scheduled. They learn of it themselves, also
// when somebody else was told first, and so do those that rest on them; evaluations on other streams do not.
void late_failures() {
  if (!failure_marks_found()) {
    fail("MLX has the marks of late failures in a place that is not known");
    return;
  }
  in_parallel([](int index) {
    StreamHandle stream = borrow_stream();
    for (int round = 0; round < rounds; ++round) {
      const Reference x = add(value(static_cast<float>(index)), 1);
      const Reference failing = fails_late(x, stream.get());
      switch (round % 4) {
        case 0:
          expect_error(add(failing, 1, {.stream = stream.get()}), "what rests on a late failure");
          break;
        case 1:
          start({failing});
          expect_error_at_once_or_later([&] { return add(failing, 1, {.stream = stream.get()}); },
                                        "what is built on a late failure");
          break;
        case 2:
          start({failing});
          // As somebody else does who schedules on the stream.
          clear_error(stream.get());
          expect_error_at_once_or_later([&] { return add(failing, 1, {.stream = stream.get()}); },
                                        "a late failure that another was told of");
          break;
        case 3: {
          const std::jthread other(
              [&] { expect_error_after_waiting([&] { return failing; }, "what another rests on"); });
          clear_error(stream.get());
          expect_error_after_waiting([&] { return add(failing, 1, {.stream = stream.get()}); },
                                     "what rests on an evaluation that somebody else waits for");
          break;
        }
      }
      clear_error(stream.get());
      const Reference y = value(static_cast<float>(index));
      expect_equal(read(add(y, 1)), static_cast<float>(index + 1), "a value beside late failures");
      expect_equal(read(add(y, 2, {.stream = stream.get()})), static_cast<float>(index + 2),
                   "a value after a late failure");
    }
    Streams::instance().give_back(std::move(stream), MLX_CPU);
  });
}

// What is scheduled when MLX throws the failure of somebody else is scheduled again.
void disturbances() {
  in_parallel([](int index) {
    StreamHandle stream = borrow_stream();
    for (int round = 0; round < rounds; ++round) {
      const Reference x = add(value(static_cast<float>(index)), 1);
      expect_equal(read(add(disturbed_once(x), 1)), static_cast<float>(index + 2), "a disturbed evaluation");
      const Reference failing = fails_late(x, stream.get());
      const Reference disturbed = disturbed_once(failing);
      start({failing});
      clear_error(stream.get());
      expect_error(disturbed, "a disturbed evaluation that rests on a failure");
    }
    Streams::instance().give_back(std::move(stream), MLX_CPU);
  });
}

// One waits to have the streams alone: others are let in meanwhile, but not for ever.
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

struct Scenario {
  const char* name;
  void (*run)();
};

constexpr Scenario scenarios[] = {
    {"own graphs over shared values", own_graphs_over_shared_values},
    {"shared graphs", shared_graphs},
    {"arrays passed on", arrays_passed_on},
    {"values used up", values_used_up},
    {"building on arrays in flight", building_on_arrays_in_flight},
    {"sharing arrays in flight", sharing_arrays_in_flight},
    {"waiting for inputs in flight", waiting_for_inputs_in_flight},
    {"one array read by all", one_array_read_by_all},
    {"siblings dropped by different threads", siblings_dropped_by_different_threads},
    {"deallocation of arrays in use", deallocation_of_arrays_in_use},
    {"failures beside healthy graphs", failures_beside_healthy_graphs},
    {"failures of shared graphs", failures_of_shared_graphs},
    {"late failures", late_failures},
    {"disturbances", disturbances},
    {"courtesy", courtesy},
    {"borrowed streams", borrowed_streams},
    {"new streams", new_streams},
    {"graphs dropped unevaluated", graphs_dropped_unevaluated},
    {"memory queries", memory_queries},
    {"transformed functions", transformed_functions},
    {"compiled functions", compiled_functions},
    {"doubles beside a GPU", doubles_beside_a_gpu},
    {"saved values", saved_values},
    {"loops", loops},
    {"imported functions", imported_functions},
    {"processes collected while they end", processes_collected_while_they_end},
    {"kernels made in the background", kernels_made_in_the_background},
    {"chains ahead", chains_ahead},
    {"shared results ahead", shared_results_ahead},
    {"failures ahead", failures_ahead},
};

// Two threads use one node without the lock of its graph; which of them is first makes no difference to the sanitizer.
void use_without_lock() {
  Streams::instance().adopt_thread();
  const Reference sum = add(value(1), 1);
  std::jthread evaluating([&] {
    Streams::instance().adopt_thread();
    ArrayVectorHandle outputs(mlx_vector_array_new_value(sum->get()));
    check(mlx_eval(outputs.get()));
  });
  std::jthread asking([&] {
    bool available = false;
    check(_mlx_array_is_available(&available, sum->get()));
  });
}

// Reads the bytes of a value after its last handle is gone.
void use_after_free() {
  ArrayHandle handle(mlx_array_new_float32(1));
  const float* element = mlx_array_data_float32(handle.get());
  handle.reset();
  std::size_t before = 0;
  check(mlx_set_cache_limit(&before, 0));
  std::printf("%f\n", static_cast<double>(*element));
}

void start_mlx() {
  on_main_thread([] { Streams::instance().start(); });
  // The kernels of fused operations would be compiled without the sanitizer: one scenario alone makes them.
  check(mlx_set_compile_mode(MLX_COMPILE_MODE_NO_FUSE));
}

void self_check(std::string_view sanitizer) {
  if (sanitizer == "thread") {
    use_without_lock();
  } else {
    use_after_free();
  }
}

int run_scenarios(std::string_view wanted) {
  for (const Scenario& scenario : scenarios) {
    if (!wanted.empty() && wanted != scenario.name) {
      continue;
    }
    const std::uint64_t operations_before = operations;
    const std::uint64_t repetitions_before = repetitions;
    std::fputs(std::format("{} ... ", scenario.name).c_str(), stderr);
    scenario.run();
    std::fputs(std::format("{} operations, {} of them again on a dirty scheduler\n", operations - operations_before,
                           repetitions - repetitions_before)
                   .c_str(),
               stderr);
  }
  Reaper::instance().stop();
  std::puts(std::format("{} scenarios, {} operations", std::size(scenarios), operations.load()).c_str());
  return failures == 0 ? 0 : 1;
}

// Where the scenarios keep their files, and MLX its kernels, so that they are made anew.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::filesystem::create_directories(path_);
    setenv("TMPDIR", path_.c_str(), 1);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

 private:
  const std::filesystem::path path_ = std::filesystem::temp_directory_path() / std::format("mlx_stress_{}", getpid());
};

int run(std::span<char* const> arguments) {
  // Before there are threads.
  const TemporaryFolder folder;
  start_mlx();
  if (arguments.size() == 2 && arguments[0] == std::string_view("--self-check")) {
    self_check(arguments[1]);
    return 0;
  }
  if (!arguments.empty() && *arguments[0] != '\0') {
    rounds = std::max(1, std::atoi(arguments[0]));
  }
  return run_scenarios(arguments.size() > 1 ? arguments[1] : "");
}

}  // namespace
}  // namespace mlx_nif::stress

int main(int count, char** arguments) {
  return mlx_nif::stress::run(std::span(arguments, static_cast<std::size_t>(count)).subspan(1));
}
