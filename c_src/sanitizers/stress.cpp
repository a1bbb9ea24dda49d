// Puts the core under stress from many threads, as the VM's schedulers do, for a sanitizer to watch.
//
//   stress [ROUNDS [SCENARIO]]           runs every scenario, or that one; its values are checked as well
//   stress --self-check thread|address   makes a mistake on purpose, which that sanitizer has to report
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <format>
#include <span>
#include <string_view>

#include "core/array/reaper.hpp"
#include "core/handles/error.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/main_thread.hpp"
#include "sanitizers/ahead.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/double_precision.hpp"
#include "sanitizers/failures.hpp"
#include "sanitizers/functions.hpp"
#include "sanitizers/graphs.hpp"
#include "sanitizers/kernels.hpp"
#include "sanitizers/mistakes.hpp"
#include "sanitizers/operations.hpp"
#include "sanitizers/processes.hpp"
#include "sanitizers/products.hpp"
#include "sanitizers/streams.hpp"
#include "sanitizers/transfers.hpp"

namespace mlx_nif::stress {
namespace {

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
    {"uploaded elements", uploaded_elements},
    {"products of packed matrices", products_of_packed_matrices},
    {"convolutions of patches", convolutions_of_patches},
    {"loops", loops},
    {"imported functions", imported_functions},
    {"processes collected while they end", processes_collected_while_they_end},
    {"kernels made in the background", kernels_made_in_the_background},
    {"chains ahead", chains_ahead},
    {"shared results ahead", shared_results_ahead},
    {"failures ahead", failures_ahead},
};

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
