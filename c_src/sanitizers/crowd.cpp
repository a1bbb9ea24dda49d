// Prints what is wrong, and counts it for the status of the program.
#include "sanitizers/crowd.hpp"

#include <cstdio>

namespace mlx_nif::stress {

void fail(const std::string& what) {
  ++failures;
  std::fputs((what + "\n").c_str(), stderr);
}

void expect_equal(float actual, float expected, std::string_view what) {
  if (actual != expected) {
    fail(std::format("{}: {} instead of {}", what, actual, expected));
  }
}

}  // namespace mlx_nif::stress
