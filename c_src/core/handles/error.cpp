// Keeps the message of mlx-c until the call that failed returns its status.
#include "core/handles/error.hpp"

#include <mlx/c/error.h>

#include <string_view>
#include <utility>

namespace mlx_nif {
namespace {

// mlx-c reports an error on the thread whose call failed, before that call returns.
thread_local std::string last_message;

// What mlx-c says where an operation that needs an array was given a null one.
constexpr std::string_view null_array = "expected a non-empty mlx_array";

}  // namespace

void throw_nil_operand() {
  throw ArgumentError("expected an Mlx.Array or a number, got: nil");
}

void check(int status) {
  if (status != 0) {
    const std::string message = std::exchange(last_message, {});
    if (message == null_array) {
      throw_nil_operand();
    }
    throw Error(message);
  }
}

}  // namespace mlx_nif

// Takes the place of mlx-c's function of this name, which is why mlx-c has to be linked as a static library. Mlx-c's
// own takes the message of an exception for a format: a "%n" in a file, a path or a subscript would write to memory.
extern "C" void _mlx_error(const char*, const int, const char* message, ...) {
  mlx_nif::last_message = message;
}
