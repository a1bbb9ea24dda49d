// Reads from the environment which processes are to be connected, and has MLX connect them on another thread.
#include "core/distributed/group.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "core/handles/error.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

constexpr auto poll_interval = std::chrono::milliseconds(5);

// By which MLX learns of a ring.
constexpr const char* host_file_variable = "MLX_HOSTFILE";
constexpr const char* rank_variable = "MLX_RANK";

// What MLX reads, while it makes a ring.
class RingVariables {
 public:
  RingVariables(const std::string& host_file, int rank) {
    setenv(host_file_variable, host_file.c_str(), 1);
    setenv(rank_variable, std::to_string(rank).c_str(), 1);
  }
  ~RingVariables() {
    unsetenv(host_file_variable);
    unsetenv(rank_variable);
  }
  RingVariables(const RingVariables&) = delete;
  RingVariables& operator=(const RingVariables&) = delete;
};

// In the order in which "any" tries them.
constexpr std::array<std::pair<Carrier, const char*>, 4> carriers{{
    {Carrier::nccl, "nccl"},
    {Carrier::ring, "ring"},
    {Carrier::mpi, "mpi"},
    {Carrier::jaccl, "jaccl"},
}};

// The number of elements of a JSON array, or of members of an object. Only right for text that is valid.
int count_elements(std::string_view json) {
  int depth = 0;
  int commas = 0;
  bool in_string = false;
  bool any = false;
  for (std::size_t at = 0; at < json.size(); ++at) {
    const char character = json[at];
    if (in_string) {
      at += character == '\\' ? 1 : 0;
      in_string = character != '"';
      continue;
    }
    in_string = character == '"';
    any |= depth > 0 && character != ']' && character != '}' &&
           std::string_view(" \t\r\n").find(character) == std::string_view::npos;
    depth += character == '[' || character == '{' ? 1 : 0;
    depth -= character == ']' || character == '}' ? 1 : 0;
    commas += depth == 1 && character == ',' ? 1 : 0;
  }
  return any ? commas + 1 : 0;
}

// MLX divides by the number of hosts, uses the rank without a look at it, and connects a single host to itself.
void check_ring() {
  const char* path = std::getenv(host_file_variable);
  const char* rank = std::getenv(rank_variable);
  if (path == nullptr || rank == nullptr) {
    return;
  }
  std::ifstream file(path);
  if (!file) {
    throw Error("cannot read the file that MLX_HOSTFILE names: " + std::string(path));
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const int hosts = count_elements(text);
  if (hosts < 2) {
    throw Error("a ring has at least 2 hosts, and the file that MLX_HOSTFILE names has " + std::to_string(hosts));
  }
  const int number = std::atoi(rank);
  if (number < 0 || number >= hosts) {
    throw Error("MLX_RANK has to be from 0 to " + std::to_string(hosts - 1) + " for " + std::to_string(hosts) +
                " hosts, got: " + std::string(rank));
  }
}

bool cuda_is_available() {
  bool available = false;
  check(mlx_cuda_is_available(&available));
  return available;
}

// The process was started to be one of several. MLX itself would start a carrier to find out, which for MPI starts
// processes and takes signals over, and for NCCL divides by the number of GPUs.
bool is_meant(Carrier carrier) {
  switch (carrier) {
    case Carrier::nccl:
      return cuda_is_available();
    case Carrier::mpi:
      return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr;
    case Carrier::ring:
      check_ring();
      return std::getenv(host_file_variable) != nullptr && std::getenv(rank_variable) != nullptr;
    case Carrier::jaccl:
      return true;
    case Carrier::none:
      break;
  }
  return false;
}

SharedGroup make_group(GroupHandle handle, Carrier carrier) {
  const int size = mlx_distributed_group_size(handle.get());
  if (size <= 1) {
    return std::make_shared<const Group>();
  }
  const int rank = mlx_distributed_group_rank(handle.get());
  return std::make_shared<const Group>(std::move(handle), carrier, rank, size);
}

SharedGroup connect(const std::string& wanted) {
  Streams::instance().adopt_thread();
  for (const auto& [carrier, name] : carriers) {
    if ((wanted != "any" && wanted != name) || !mlx_distributed_is_available(name) || !is_meant(carrier)) {
      continue;
    }
    GroupHandle handle;
    check(mlx_distributed_init(handle.out(), false, name));
    SharedGroup group = make_group(std::move(handle), carrier);
    if (group->size > 1) {
      return group;
    }
  }
  return std::make_shared<const Group>();
}

// Groups live to the end of the process: MLX's threads use a connection that its destructor closes.
struct Groups {
  std::mutex mutex;
  std::map<std::string, std::shared_future<SharedGroup>> by_carrier;

  static Groups& instance() {
    static Groups* const groups = new Groups;
    return *groups;
  }

  // MLX waits for other processes without end, so it does that on a thread of its own.
  std::shared_future<SharedGroup> find_or_connect(const std::string& carrier) {
    const std::lock_guard lock(mutex);
    auto& group = by_carrier[carrier];
    if (!group.valid()) {
      group = start([carrier] { return connect(carrier); });
    }
    return group;
  }

  std::shared_future<SharedGroup> connect_ring(const std::string& host_file, int rank) {
    const std::lock_guard lock(mutex);
    if (const auto ring = by_carrier.find("ring"); ring != by_carrier.end() && !is_of_one(ring->second)) {
      throw Error("this virtual machine is in a ring already, and MLX cannot make another: it has to be started again");
    }
    const auto group = start([host_file, rank] {
      const RingVariables variables(host_file, rank);
      return connect("ring");
    });
    by_carrier["ring"] = group;
    by_carrier["any"] = group;
    return group;
  }

  // So that it can be tried again.
  void forget(const std::string& carrier) {
    const std::lock_guard lock(mutex);
    by_carrier.erase(carrier);
  }

 private:
  std::shared_future<SharedGroup> start(std::function<SharedGroup()> connect) {
    std::packaged_task<SharedGroup()> task([this, connect = std::move(connect)] {
      // MLX's table of groups has no lock.
      const std::lock_guard connecting_lock(connecting);
      return connect();
    });
    auto group = task.get_future().share();
    std::thread(std::move(task)).detach();
    return group;
  }

  static bool is_of_one(const std::shared_future<SharedGroup>& group) {
    return group.wait_for(std::chrono::seconds(0)) == std::future_status::ready && group.get()->size == 1;
  }

  std::mutex connecting;
};

SharedGroup wait_for_group(const std::shared_future<SharedGroup>& group, const PeerWait& wait) {
  while (group.wait_for(poll_interval) != std::future_status::ready) {
    wait.check();
  }
  return group.get();
}

}  // namespace

PeerWait::PeerWait(std::optional<std::chrono::milliseconds> limit, std::function<bool()> wanted)
    : wanted_(std::move(wanted)) {
  if (limit) {
    end_ = Clock::now() + *limit;
  }
}

void PeerWait::check() const {
  if (end_ && Clock::now() >= *end_) {
    throw Over("the other processes did not answer in time");
  }
  if (!wanted_()) {
    throw Over("the process that waited has ended");
  }
}

bool carrier_is_available(const std::string& carrier) {
  return carrier == "any" ? mlx_distributed_is_available(nullptr) : mlx_distributed_is_available(carrier.c_str());
}

SharedGroup join_group(const std::string& carrier, const PeerWait& wait) {
  if (carrier != "any" && std::ranges::none_of(carriers, [&](const auto& known) { return carrier == known.second; })) {
    throw ArgumentError("expected any, nccl, ring, mpi or jaccl, got: " + carrier);
  }
  auto& groups = Groups::instance();
  try {
    return wait_for_group(groups.find_or_connect(carrier), wait);
  } catch (const PeerWait::Over&) {
    throw;
  } catch (...) {
    groups.forget(carrier);
    throw;
  }
}

SharedGroup join_ring(const std::string& host_file, int rank, const PeerWait& wait) {
  auto& groups = Groups::instance();
  const auto group = groups.connect_ring(host_file, rank);
  try {
    return wait_for_group(group, wait);
  } catch (const PeerWait::Over&) {
    throw;
  } catch (...) {
    groups.forget("ring");
    groups.forget("any");
    throw;
  }
}

SharedGroup split_group(const Group& group, int color, int key) {
  if (group.size == 1) {
    throw Error("a group of one process cannot be split");
  }
  // MPI and NCCL end the process for a negative color.
  if (color < 0) {
    throw ArgumentError("expected a color that is not negative, got: " + std::to_string(color));
  }
  GroupHandle part;
  check(mlx_distributed_group_split(part.out(), group.handle.get(), color, key));
  return make_group(std::move(part), group.carrier);
}

}  // namespace mlx_nif
