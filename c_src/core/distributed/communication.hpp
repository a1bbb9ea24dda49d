// Messages between the processes of a group.
#pragma once

#include <functional>
#include <string>

#include "core/array/array.hpp"
#include "core/distributed/group.hpp"

namespace mlx_nif {

// MLX's connections are used by one operation at a time, which begins and ends here. An operation waits for the other
// processes; while it is on MLX's queue of a stream, whatever is queued behind it waits too. So it is not a node of a
// graph: it gets a value, runs alone on a stream of its own, and gives a value.
class Communication {
 public:
  // Throws Error when the connection was lost, and Busy while another operation runs.
  explicit Communication(const Group& group);
  ~Communication();
  Communication(const Communication&) = delete;
  Communication& operator=(const Communication&) = delete;

  struct Busy {};

  using Operation = std::function<int(mlx_array* result, mlx_array value, mlx_distributed_group, mlx_stream)>;

  // The value has to be row-major, and null for an operation that takes none.
  ArrayHandle run(const Operation& operation, ArrayHandle value, const PeerWait& wait) const;

 private:
  const Group& group_;
};

// Has all operations fail for this reason, those that wait for other processes too.
void lose_connection(std::string reason);

// To be called when there is a group that MPI carries: its launcher takes a process for failed that ends without a
// word.
void finish_mpi_at_exit();

// What MLX, or what carries the messages, does not refuse itself. Each throws ArgumentError or Error.
namespace communication_guards {

enum class Reduction { no, yes };

void check_value(const Group& group, mlx_array value, Reduction reduction);
void check_gathered(const Group& group, mlx_array value);
void check_peer(const Group& group, int rank);

}  // namespace communication_guards

}  // namespace mlx_nif
