// Many threads call functions whose kernels are made meanwhile, and some disturb the maker.
#include "sanitizers/kernels.hpp"

#include <cstdio>
#include <filesystem>
#include <string>

#include "core/kernels/fused_kernel.hpp"
#include "core/kernels/kernel_maker.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/recorded.hpp"

namespace mlx_nif::stress {
namespace {

constexpr int shortest_chain = 2;
constexpr int longest_chain = 4;
constexpr int matrix_size = 8;

// While it is there, operations are fused. The kernels themselves are compiled without the sanitizer.
class Fusing {
 public:
  Fusing() { check(mlx_set_compile_mode(MLX_COMPILE_MODE_ENABLED)); }
  ~Fusing() { mlx_set_compile_mode(MLX_COMPILE_MODE_NO_FUSE); }
  Fusing(const Fusing&) = delete;
  Fusing& operator=(const Fusing&) = delete;
};

std::size_t kernels_in_folder() {
  std::size_t count = 0;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(kernel_folder_path(), error)) {
    count += file.path().extension() == ".so" ? 1 : 0;
  }
  return count;
}

// Arrays whose elements lie in two orders have two kernels.
void call(const CompiledFunction& function, int length, int number, bool transposed) {
  const auto x = static_cast<float>(number % 5);
  const Reference plain = add(matrix(x, matrix_size), 1);
  const Reference result = run_recorded(function, {transposed ? transpose(plain) : plain, value(2)})[0];
  expect_equal(read(result), chained(length, x + 1, 2), "a function whose kernel is made");
}

void disturb(int round) {
  constexpr KernelMaking all[] = {KernelMaking::background, KernelMaking::never, KernelMaking::background,
                                  KernelMaking::wait};
  KernelMaker& maker = KernelMaker::instance();
  maker.set_making(all[round % std::size(all)]);
  if (round % 10 == 9) {
    maker.stop();
  }
}

}  // namespace

void kernels_made_in_the_background() {
  const Fusing fusing;
  KernelMaker& maker = KernelMaker::instance();
  for (int length = shortest_chain; length <= longest_chain; ++length) {
    const CompiledFunction function(chain(length), false);
    in_parallel([&](int index) {
      // For as long as it takes to make a kernel or two.
      for (int round = 0; round < rounds || maker.open() > 0; ++round) {
        call(function, length, round + index, round % 2 == 1);
        if (index < 2 && round < rounds) {
          disturb(round + index);
        }
      }
    });
    maker.set_making(KernelMaking::background);
  }
  if (const std::string failure = last_kernel_failure(); !failure.empty()) {
    fail("a kernel was not made: " + failure);
  } else if (kernels_in_folder() == 0) {
    std::fputs("without kernels, as MLX found no C++ compiler: ", stderr);
  }
}

}  // namespace mlx_nif::stress
