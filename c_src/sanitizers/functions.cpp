// Each thread has arguments of its own, and one that all have.
#include "sanitizers/functions.hpp"

#include <filesystem>
#include <memory>
#include <string>

#include "sanitizers/crowd.hpp"
#include "sanitizers/operations.hpp"
#include "sanitizers/recorded.hpp"

namespace mlx_nif::stress {

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

}  // namespace mlx_nif::stress
