#include "core/error.hpp"

#include <mlx/c/error.h>

#include <string_view>
#include <utility>

namespace mlx_nif {
namespace {

// mlx-c calls its handler on the thread whose call failed, before that call returns.
thread_local std::string last_message;

// mlx-c ends each message with " at <path>:<line>" of its own source.
std::string_view without_location(std::string_view message) {
  const auto location = message.rfind(" at ");
  if (location == std::string_view::npos) {
    return message;
  }
  const auto tail = message.substr(location);
  const bool is_location = tail.find(".cpp:") != std::string_view::npos || tail.find(".h:") != std::string_view::npos;
  return is_location ? message.substr(0, location) : message;
}

void keep_message(const char* message, void*) {
  last_message = without_location(message);
}

}  // namespace

void install_error_handler() {
  mlx_set_error_handler(keep_message, nullptr, nullptr);
}

void check(int status) {
  if (status != 0) {
    throw Error(std::exchange(last_message, {}));
  }
}

}  // namespace mlx_nif
