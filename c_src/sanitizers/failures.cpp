// Singular matrices, which fail on a thread of MLX, and nodes that fail after they were scheduled.
#include "sanitizers/failures.hpp"

#include <format>
#include <string_view>
#include <thread>

#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/scheduling.hpp"
#include "core/handles/error.hpp"
#include "core/streams/late_failure.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/late_failures.hpp"
#include "sanitizers/operations.hpp"
#include "sanitizers/streams.hpp"

namespace mlx_nif::stress {
namespace {

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

}  // namespace

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

}  // namespace mlx_nif::stress
