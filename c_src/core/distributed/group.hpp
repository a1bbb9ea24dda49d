// Processes, on one machine or several, that compute together.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/handles/error.hpp"
#include "core/handles/handle.hpp"

namespace mlx_nif {

// How long a caller waits for other processes, which may never come.
class PeerWait {
 public:
  class Over : public Error {
   public:
    using Error::Error;
  };

  // `wanted` tells whether anybody is still there to get the result.
  PeerWait(std::optional<std::chrono::milliseconds> limit, std::function<bool()> wanted);

  // Throws Over when the time is over, or when nobody wants the result any more.
  void check() const;

 private:
  using Clock = std::chrono::steady_clock;

  std::optional<Clock::time_point> end_;
  std::function<bool()> wanted_;
};

// What carries the messages.
enum class Carrier { none, ring, mpi, nccl, jaccl };

struct Group {
  // Null for a group of one, which needs no messages.
  GroupHandle handle;
  Carrier carrier = Carrier::none;
  int rank = 0;
  int size = 1;
};

using SharedGroup = std::shared_ptr<const Group>;

bool carrier_is_available(const std::string& carrier);

// The group that the environment of the process names, for "any" or the name of a carrier. Waits for the other
// processes, or throws Error; a later call goes on waiting. Without such an environment it is a group of one.
SharedGroup join_group(const std::string& carrier, const PeerWait& wait);

// The ring of the hosts in such a file as MLX_HOSTFILE names. From then on it is the group of the process, whatever its
// environment says. Throws Error when the process is in another ring.
SharedGroup join_ring(const std::string& host_file, int rank, const PeerWait& wait);

// Waits for the other processes of the group.
SharedGroup split_group(const Group& group, int color, int key);

}  // namespace mlx_nif
