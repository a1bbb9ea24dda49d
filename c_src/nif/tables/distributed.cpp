// Groups of processes, and messages between them.
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "core/distributed/collective.hpp"
#include "core/distributed/communication.hpp"
#include "core/evaluation/values.hpp"
#include "core/memory/array_limit.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

using communication_guards::Reduction;

const SharedGroup& decode_shared_group(ErlNifEnv* env, ERL_NIF_TERM term) {
  const GroupResource* group = Resource<GroupResource>::find(env, term);
  if (group == nullptr) {
    expected(env, "the reference of an Mlx.Distributed.Group", term);
  }
  return group->group;
}

const Group& decode_group(ErlNifEnv* env, ERL_NIF_TERM term) {
  return *decode_shared_group(env, term);
}

// Milliseconds, or nil for no limit.
std::optional<std::chrono::milliseconds> decode_limit(ErlNifEnv* env, ERL_NIF_TERM term) {
  if (is_nil(term)) {
    return std::nullopt;
  }
  const int milliseconds = decode<int>(env, term);
  if (milliseconds < 0) {
    expected(env, "a time in milliseconds", term);
  }
  return std::chrono::milliseconds(milliseconds);
}

// The caller may be killed while it waits.
PeerWait decode_wait(ErlNifEnv* env, ERL_NIF_TERM term) {
  return {decode_limit(env, term), [env] { return enif_is_current_process_alive(env) != 0; }};
}

ERL_NIF_TERM make_group(ErlNifEnv* env, SharedGroup group) {
  return Resource<GroupResource>::make(env, std::move(group));
}

// :busy while another process uses the connection: its turn is waited for in Elixir, which keeps no scheduler.
template <typename Body>
ERL_NIF_TERM unless_busy(const Body& body) {
  try {
    return body();
  } catch (const Communication::Busy&) {
    return atoms.busy;
  }
}

ERL_NIF_TERM send_value(ErlNifEnv* env, ERL_NIF_TERM array_term, const Group& group, const PeerWait& wait,
                        const Communication::Operation& operation) {
  const Pin array = decode_array(env, array_term);
  check_size(array.get()->get());
  return unless_busy([&] {
    const Communication communication(group);
    ArrayHandle value = row_major_value(*array.get(), Waiting::unlimited);
    return make_value(env, communication.run(operation, std::move(value), wait));
  });
}

template <Collective collective>
ERL_NIF_TERM collect_now(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const Pin array = decode_array(env, argv[0]);
  const Group& group = decode_group(env, argv[1]);
  const PeerWait wait = decode_wait(env, argv[2]);
  if (group.size == 1) {
    return make_value(env, row_major_value(*array.get(), Waiting::unlimited));
  }
  check_size(array.get()->get());
  // Before anything is computed.
  kind_of_result(collective, group, array.get()->get());
  return unless_busy([&] { return make_value(env, collect(collective, group, *array.get(), wait)); });
}

// By the name of a collective operation, a group and a time limit: what `apply_instruction` records for an array.
ERL_NIF_TERM recorded(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto name = decode<std::string>(env, argv[0]);
  return Resource<InstructionResource>::make(
      env, "Mlx.Distributed." + name,
      recorded_collective(collective_of(name), decode_shared_group(env, argv[1]), decode_limit(env, argv[2])));
}

ERL_NIF_TERM send(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const Pin array = decode_array(env, argv[0]);
  const int destination = decode<int>(env, argv[1]);
  const Group& group = decode_group(env, argv[2]);
  const PeerWait wait = decode_wait(env, argv[3]);
  communication_guards::check_peer(group, destination);
  communication_guards::check_value(group, array.get()->get(), Reduction::no);
  return send_value(env, argv[0], group, wait, [destination](auto* result, auto value, auto to, auto stream) {
    return mlx_distributed_send(result, value, destination, to, stream);
  });
}

ERL_NIF_TERM receive(ErlNifEnv* env, const std::vector<int>& shape, mlx_dtype type, const ERL_NIF_TERM rest[]) {
  const int source = decode<int>(env, rest[0]);
  const Group& group = decode_group(env, rest[1]);
  const PeerWait wait = decode_wait(env, rest[2]);
  for (const int dimension : shape) {
    if (dimension < 0) {
      throw ArgumentError("a dimension is negative");
    }
  }
  communication_guards::check_peer(group, source);
  return unless_busy([&] {
    const Communication communication(group);
    const auto operation = [&](auto* result, auto, auto from, auto stream) {
      return mlx_distributed_recv(result, shape.data(), shape.size(), type, source, from, stream);
    };
    return make_value(env, communication.run(operation, {}, wait));
  });
}

ERL_NIF_TERM recv(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return receive(env, decode<std::vector<int>>(env, argv[0]), decode<mlx_dtype>(env, argv[1]), argv + 2);
}

ERL_NIF_TERM recv_like(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const Pin array = decode_array(env, argv[0]);
  const mlx_array like = array.get()->get();
  const int* shape = mlx_array_shape(like);
  return receive(env, {shape, shape + mlx_array_ndim(like)}, mlx_array_dtype(like), argv + 1);
}

ERL_NIF_TERM is_available(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return make_boolean(carrier_is_available(decode<std::string>(env, argv[0])));
}

ERL_NIF_TERM init(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const bool strict = decode<bool>(env, argv[0]);
  const auto carrier = decode<std::string>(env, argv[1]);
  SharedGroup group = join_group(carrier, decode_wait(env, argv[2]));
  if (strict && group->size == 1) {
    throw Error("this process was not started as one of several for the backend " + carrier);
  }
  if (group->carrier == Carrier::mpi) {
    finish_mpi_at_exit();
  }
  return make_group(env, std::move(group));
}

// A file with the addresses of the hosts, and the place of this virtual machine among them.
ERL_NIF_TERM join_ring_of_hosts(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto host_file = decode<std::string>(env, argv[0]);
  return make_group(env, join_ring(host_file, decode<int>(env, argv[1]), decode_wait(env, argv[2])));
}

ERL_NIF_TERM lose(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  lose_connection(decode<std::string>(env, argv[0]));
  return atoms.ok;
}

ERL_NIF_TERM group_rank(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return enif_make_int(env, decode_group(env, argv[0]).rank);
}

ERL_NIF_TERM group_size(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return enif_make_int(env, decode_group(env, argv[0]).size);
}

ERL_NIF_TERM group_split(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const Group& group = decode_group(env, argv[0]);
  const int color = decode<int>(env, argv[1]);
  const int key = decode<int>(env, argv[2]);
  return unless_busy([&] {
    const Communication communication(group);
    return make_group(env, split_group(group, color, key));
  });
}

}  // namespace

std::vector<ErlNifFunc> distributed_functions() {
  return {
      dirty_function<"distributed_all_gather", 3, collect_now<Collective::all_gather>>(),
      dirty_function<"distributed_all_max", 3, collect_now<Collective::all_max>>(),
      dirty_function<"distributed_all_min", 3, collect_now<Collective::all_min>>(),
      dirty_function<"distributed_all_sum", 3, collect_now<Collective::all_sum>>(),
      function<"distributed_group_rank", 1, group_rank>(),
      function<"distributed_group_size", 1, group_size>(),
      dirty_function<"distributed_group_split", 3, group_split>(),
      dirty_function<"distributed_init", 3, init>(),
      dirty_function<"distributed_is_available", 1, is_available>(),
      dirty_function<"distributed_join_ring", 3, join_ring_of_hosts>(),
      function<"distributed_lose", 1, lose>(),
      function<"distributed_recorded", 3, recorded>(),
      dirty_function<"distributed_recv", 5, recv>(),
      dirty_function<"distributed_recv_like", 4, recv_like>(),
      dirty_function<"distributed_send", 4, send>(),
      dirty_function<"distributed_sum_scatter", 3, collect_now<Collective::sum_scatter>>(),
  };
}

}  // namespace mlx_nif
