// Chooses MLX's function for a collective operation, and runs it in the middle of a program.
#include "core/distributed/collective.hpp"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>
#include <vector>

#include "core/evaluation/values.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/transforms/control_flow.hpp"

namespace mlx_nif {
namespace {

using communication_guards::Reduction;

constexpr auto wait_for_turn = std::chrono::milliseconds(1);

struct Row {
  const char* name;
  Collective collective;
  int (*function)(mlx_array*, mlx_array, mlx_distributed_group, mlx_stream);
  Reduction reduction;
};

constexpr std::array<Row, 5> rows{{
    {"all_sum", Collective::all_sum, mlx_distributed_all_sum, Reduction::yes},
    {"all_max", Collective::all_max, mlx_distributed_all_max, Reduction::yes},
    {"all_min", Collective::all_min, mlx_distributed_all_min, Reduction::yes},
    {"all_gather", Collective::all_gather, mlx_distributed_all_gather, Reduction::no},
    {"sum_scatter", Collective::sum_scatter, mlx_distributed_sum_scatter, Reduction::yes},
}};

const Row& row_of(Collective collective) {
  return *std::ranges::find(rows, collective, &Row::collective);
}

bool scatters(Carrier carrier) {
  return carrier == Carrier::nccl || carrier == Carrier::jaccl;
}

// The ring and MPI have no such operation in MLX.
Communication::Operation sum_and_cut(const Group& group, const ArrayKind& part) {
  std::vector<int> start(part.shape.size(), 0);
  start.front() = group.rank * part.shape.front();
  std::vector<int> stop = part.shape;
  stop.front() += start.front();
  const std::vector<int> strides(part.shape.size(), 1);
  return [=](mlx_array* result, mlx_array value, mlx_distributed_group native, mlx_stream stream) {
    const ArrayHandle sum = apply(mlx_distributed_all_sum, value, native, stream);
    return mlx_slice(result, sum.get(), start.data(), start.size(), stop.data(), stop.size(), strides.data(),
                     strides.size(), stream);
  };
}

class RecordedCollective final : public Instruction {
 public:
  RecordedCollective(Collective collective, SharedGroup group, std::optional<std::chrono::milliseconds> limit)
      : collective_(collective), group_(std::move(group)), limit_(limit) {}

  InstructionTraits traits() const override { return {.dynamic = true}; }
  // The other processes wait for it.
  bool has_effects() const override { return true; }

  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    const Host& host = Host::current();
    const ArrayHandle value = std::move(host.values_of(inputs.first(1)).front());
    const PeerWait wait(limit_, [&host] { return is_wanted(host); });
    ArrayHandle result;
    Host::evaluating([&] { result = collect_in_turn(value.get(), wait); });
    results.push_back(std::move(result));
  }

  void infer(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    const ArrayKind kind = kind_of_result(collective_, *group_, inputs.front());
    results.push_back(placeholder_of(kind));
  }

 private:
  static bool is_wanted(const Host& host) {
    try {
      host.check_wanted();
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  ArrayHandle collect_in_turn(mlx_array value, const PeerWait& wait) const {
    Array array{share(value)};
    for (;;) {
      // What was begun takes place, whoever is killed then.
      wait.check();
      try {
        return collect(collective_, *group_, array, wait);
      } catch (const Communication::Busy&) {
        std::this_thread::sleep_for(wait_for_turn);
      } catch (const Error& error) {
        throw Error(std::string(row_of(collective_).name) + ": " + error.what());
      }
    }
  }

  const Collective collective_;
  const SharedGroup group_;
  const std::optional<std::chrono::milliseconds> limit_;
};

}  // namespace

Collective collective_of(const std::string& name) {
  const auto* const row = std::ranges::find_if(rows, [&](const Row& known) { return name == known.name; });
  if (row == rows.end()) {
    throw ArgumentError("expected the name of a collective operation, got: " + name);
  }
  return row->collective;
}

ArrayKind kind_of_result(Collective collective, const Group& group, mlx_array value) {
  communication_guards::check_value(group, value, row_of(collective).reduction);
  ArrayKind kind = kind_of(value);
  switch (collective) {
    case Collective::all_sum:
    case Collective::all_max:
    case Collective::all_min:
      break;
    case Collective::all_gather:
      communication_guards::check_gathered(group, value);
      if (kind.shape.empty()) {
        kind.shape.push_back(1);
      }
      kind.shape.front() *= group.size;
      break;
    case Collective::sum_scatter:
      if (kind.shape.empty() || kind.shape.front() % group.size != 0) {
        throw ArgumentError("expected an array whose first axis can be cut into " + std::to_string(group.size) +
                            " equal parts");
      }
      kind.shape.front() /= group.size;
      break;
  }
  return kind;
}

ArrayHandle collect(Collective collective, const Group& group, Array& array, const PeerWait& wait) {
  const Communication communication(group);
  ArrayHandle value = row_major_value(array, Waiting::unlimited);
  const ArrayKind kind = kind_of_result(collective, group, value.get());
  const bool cut = collective == Collective::sum_scatter && !scatters(group.carrier);
  const Communication::Operation operation = cut ? sum_and_cut(group, kind) : row_of(collective).function;
  return communication.run(operation, std::move(value), wait);
}

std::shared_ptr<const Instruction> recorded_collective(Collective collective, SharedGroup group,
                                                       std::optional<std::chrono::milliseconds> limit) {
  return std::make_shared<const RecordedCollective>(collective, std::move(group), limit);
}

}  // namespace mlx_nif
