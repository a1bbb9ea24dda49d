// Runs an operation on the one connection of the process, and gives up when the caller does.
#include "core/distributed/communication.hpp"

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "core/evaluation/scheduling.hpp"
#include "core/handles/arguments.hpp"
#include "core/handles/empty_arrays.hpp"
#include "core/handles/error.hpp"
#include "core/memory/array_limit.hpp"
#include "core/streams/late_failure.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

using Clock = std::chrono::steady_clock;

// A peer that is there answers within this time; then it is asked for less often.
constexpr auto short_wait = std::chrono::milliseconds(2);
constexpr auto poll_interval = std::chrono::microseconds(200);

// What MLX says when a socket is closed. Its thread for that socket ends then, so that whatever uses it later would
// wait for ever.
constexpr std::string_view lost_connection = "connection to a peer was lost";

// Of the one connection that there is for a process.
struct Connection {
  std::atomic_flag in_use;
  std::atomic<bool> lost{false};
  // Why it was given up, if that was not said by MLX; under the mutex.
  std::string reason;
  std::mutex mutex;
  // An operation was given up, and may still be waiting on its stream.
  std::atomic<bool> left_waiting{false};
};

Connection connection;

std::string reason_given() {
  const std::lock_guard lock(connection.mutex);
  return connection.reason;
}

mlx_device_type device_of(Carrier carrier) {
  return carrier == Carrier::nccl ? MLX_GPU : MLX_CPU;
}

// Never given back.
mlx_stream stream_of(Carrier carrier) {
  static std::array<StreamHandle, 2>* const streams = new std::array<StreamHandle, 2>;
  auto& stream = (*streams)[device_of(carrier)];
  if (!stream) {
    between_schedules([&] { stream = Streams::instance().borrow(device_of(carrier)); });
  }
  return stream.get();
}

void wait_for(mlx_array array, const PeerWait& wait) {
  const auto start = Clock::now();
  for (;;) {
    if (has_arrived(array)) {
      return;
    }
    if (Clock::now() - start < short_wait) {
      std::this_thread::yield();
    } else {
      wait.check();
      if (const std::string reason = reason_given(); !reason.empty()) {
        throw PeerWait::Over(reason);
      }
      std::this_thread::sleep_for(poll_interval);
    }
  }
}

void raise_error_of(mlx_stream stream) {
  const std::lock_guard lock(Scheduling::instance().mutex);
  finish_stream(stream);
}

// After an error, threads of MLX may go on reading and writing what they were given.
void keep_for_ever(ArrayHandle array) {
  new ArrayHandle(std::move(array));
}

}  // namespace

Communication::Communication(const Group& group) : group_(group) {
  if (connection.lost) {
    const std::string reason = reason_given();
    throw Error((reason.empty() ? "the connection to another process was lost before" : reason) +
                ", and MLX cannot make a new one: all processes have to be started again");
  }
  if (connection.in_use.test_and_set(std::memory_order_acquire)) {
    throw Busy();
  }
}

Communication::~Communication() {
  connection.in_use.clear(std::memory_order_release);
}

ArrayHandle Communication::run(const Operation& operation, ArrayHandle value, const PeerWait& wait) const {
  const mlx_stream stream = stream_of(group_.carrier);
  ArrayHandle result;
  check(operation(result.out(), value.get(), group_.handle.get(), stream));
  if (has_no_elements(result.get())) {
    return without_elements(result.get());
  }
  check_size(result.get());
  try {
    const mlx_array outputs[] = {result.get()};
    between_schedules([&] { schedule_outputs(outputs); });
  } catch (const Error&) {
    clear_error(stream);
    throw;
  }
  try {
    wait_for(result.get(), wait);
    raise_error_of(stream);
  } catch (const PeerWait::Over&) {
    // The operation stays on its stream, and MLX keeps its arrays; what follows comes after it.
    connection.left_waiting = true;
    throw;
  } catch (const Error& error) {
    clear_error(stream);
    connection.lost = connection.lost || std::string_view(error.what()).find(lost_connection) != std::string_view::npos;
    keep_for_ever(std::move(value));
    keep_for_ever(std::move(result));
    throw;
  }
  return result;
}

void lose_connection(std::string reason) {
  const std::lock_guard lock(connection.mutex);
  connection.reason = std::move(reason);
  connection.lost = true;
}

// MLX does it when it destroys its group, which lives for ever here. MPI would wait for what is not finished.
void finish_mpi_at_exit() {
  static const int registered = std::atexit([] {
    using Finalize = int (*)();
    const auto finalize = reinterpret_cast<Finalize>(dlsym(RTLD_DEFAULT, "MPI_Finalize"));
    if (finalize != nullptr && !connection.left_waiting && !connection.in_use.test_and_set()) {
      finalize();
    }
  });
  static_cast<void>(registered);
}

namespace communication_guards {

void check_value(const Group& group, mlx_array value, Reduction reduction) {
  if (group.carrier != Carrier::mpi) {
    return;
  }
  // MPI counts with 32 bits, has no sum of booleans, and ends the process for what it does not know.
  if (mlx_array_size(value) > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw Error("MPI sends no more than 2147483647 elements at once");
  }
  if (reduction == Reduction::yes && mlx_array_dtype(value) == MLX_BOOL) {
    throw Error("MPI does not combine booleans");
  }
}

void check_gathered(const Group& group, mlx_array value) {
  const auto shape = shape_of(value);
  if (!shape.empty() && shape.front() > std::numeric_limits<int>::max() / group.size) {
    throw Error("the first axis of the result would be longer than 2147483647");
  }
}

void check_peer(const Group& group, int rank) {
  if (group.size == 1) {
    throw Error("a group of one process has nobody to send to or to receive from");
  }
  if (rank < 0 || rank >= group.size) {
    throw ArgumentError("expected a rank from 0 to " + std::to_string(group.size - 1) +
                        ", got: " + std::to_string(rank));
  }
  if (rank == group.rank) {
    throw ArgumentError("expected the rank of another process, got its own: " + std::to_string(rank));
  }
}

}  // namespace communication_guards

}  // namespace mlx_nif
