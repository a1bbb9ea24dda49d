// Finds the place of the mark by a failure on purpose, and reads it wherever MLX is asked about an array.
#include "core/streams/late_failure.hpp"

#include <mlx/scheduler.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"

namespace mlx_nif {
namespace {

using mlx::core::Event;

// The mark is a pointer to the error of a stream, in an object that only MLX's sources describe.
using ErrorPointer = std::atomic<mlx::core::Error*>;

// On Metal and CUDA the object begins with it. Without a GPU it comes after a counter with its lock.
constexpr std::array<std::size_t, 2> known_places{
    0, sizeof(std::uint64_t) + sizeof(std::mutex) + sizeof(std::condition_variable)};

// Set once, before any evaluation.
std::optional<std::size_t> place_of_mark;

bool is_marked(const Event& event, std::size_t place) {
  const auto* object = &event.cast<std::byte>();
  return reinterpret_cast<const ErrorPointer*>(object + place)->load() != nullptr;
}

bool is_marked(const Event& event) {
  return event.valid() && place_of_mark && is_marked(event, *place_of_mark);
}

class LastMessage {
 public:
  void set(std::string message) {
    const std::lock_guard lock(mutex_);
    message_ = std::move(message);
  }
  std::string get() {
    const std::lock_guard lock(mutex_);
    return message_;
  }

  // Never destroyed: the VM runs static destructors while its threads evaluate.
  static LastMessage& instance() {
    static LastMessage* const message = new LastMessage;
    return *message;
  }

 private:
  std::mutex mutex_;
  std::string message_ = "a computation failed on the device after it was scheduled";
};

// Asks MLX about an array whose event it may let go of, and throws what it knows of a failure.
template <typename Ask>
auto ask_of(mlx_array array, Mark mark, const Ask& ask) {
  const Event event = array_of(array).event();
  auto answer = [&] {
    try {
      return ask();
    } catch (const Error& error) {
      remember_late_failure(error.what());
      throw;
    }
  }();
  if (answer && mark == Mark::means_failure && is_marked(event)) {
    throw Error(last_late_failure());
  }
  return answer;
}

}  // namespace

bool find_failure_marks(mlx_stream stream) {
  const ArrayHandle zero(mlx_array_new_int(0));
  const ArrayHandle array = apply(mlx_negative, zero.get(), stream);
  const ArrayVectorHandle outputs(mlx_vector_array_new_value(array.get()));
  check(mlx_async_eval(outputs.get()));
  Event event = array_of(array.get()).event();
  check(mlx_synchronize(stream));
  std::array<bool, known_places.size()> before{};
  for (std::size_t index = 0; index < known_places.size(); ++index) {
    before[index] = is_marked(event, known_places[index]);
  }
  // Fails late on purpose, and not before the event is to be signaled, as MLX may raise it in this thread at once.
  auto& scheduler = mlx::core::scheduler::scheduler();
  std::promise<void> fail;
  const auto marked = std::make_shared<std::promise<void>>();
  scheduler.enqueue(stream_of(stream), [go = fail.get_future().share()] {
    go.wait();
    throw std::runtime_error("a failure to find its mark");
  });
  scheduler.signal_event(stream_of(stream), event, [marked](Event&) { marked->set_value(); });
  fail.set_value();
  marked->get_future().wait();
  try {
    check(mlx_synchronize(stream));
  } catch (const Error&) {
  }
  for (std::size_t index = 0; index < known_places.size(); ++index) {
    if (!before[index] && is_marked(event, known_places[index])) {
      place_of_mark = known_places[index];
      break;
    }
  }
  return failure_marks_found();
}

bool failure_marks_found() {
  return place_of_mark.has_value();
}

bool has_arrived(mlx_array array, Mark mark) {
  const mlx::core::array& node = array_of(array);
  if (is_unscheduled(node) || node.status() == mlx::core::array::Status::available) {
    return !is_unscheduled(node);
  }
  return ask_of(array, mark, [array] {
    bool available = false;
    check(_mlx_array_is_available(&available, array));
    return available;
  });
}

void wait_for_arrival(mlx_array array, Mark mark) {
  ask_of(array, mark, [array] {
    check(_mlx_array_wait(array));
    return true;
  });
}

bool rests_on_late_failure(std::span<const mlx_array> outputs) {
  bool failed = false;
  for_each_scheduled_input(arrays_of(outputs),
                           [&failed](const mlx::core::array& input) { failed |= is_marked(input.event()); });
  return failed;
}

bool is_of_some_command_buffer(std::string_view message) {
  return message.find("Command buffer execution failed") != std::string_view::npos;
}

void remember_late_failure(std::string message) {
  LastMessage::instance().set(std::move(message));
}

std::string last_late_failure() {
  return LastMessage::instance().get();
}

}  // namespace mlx_nif
