// What the scenarios have in common: many threads, and values that are checked.
#pragma once

#include <atomic>
#include <exception>
#include <format>
#include <latch>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {

inline constexpr int thread_count = 8;

inline int rounds = 100;
inline std::atomic<int> failures{0};

void fail(const std::string& what);
void expect_equal(float actual, float expected, std::string_view what);

// Runs the body on all threads, which start at the same time, each with a process of its own.
template <typename Body>
void in_parallel(const Body& body) {
  std::latch ready(thread_count);
  std::vector<std::jthread> threads;
  for (int index = 0; index < thread_count; ++index) {
    threads.emplace_back([&, index] {
      begin_process();
      ready.arrive_and_wait();
      try {
        body(index);
      } catch (const std::exception& error) {
        fail(std::format("unexpected: {}", error.what()));
      }
    });
  }
}

class Dice {
 public:
  explicit Dice(int seed) : engine_(static_cast<unsigned>(seed) + 1) {}
  int below(int end) { return std::uniform_int_distribution(0, end - 1)(engine_); }

 private:
  std::minstd_rand engine_;
};

}  // namespace mlx_nif::stress
