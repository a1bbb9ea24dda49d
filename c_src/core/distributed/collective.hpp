// Operations that combine the arrays of all processes of a group.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "core/array/array_kind.hpp"
#include "core/distributed/communication.hpp"
#include "core/recording/program.hpp"

namespace mlx_nif {

enum class Collective { all_sum, all_max, all_min, all_gather, sum_scatter };

// Throws ArgumentError for another name.
Collective collective_of(const std::string& name);

// What the result is like. Throws ArgumentError or Error for an array that cannot be exchanged.
ArrayKind kind_of_result(Collective collective, const Group& group, mlx_array array);

// The result for an array, of a group of several. Throws Communication::Busy while another operation runs.
ArrayHandle collect(Collective collective, const Group& group, Array& array, const PeerWait& wait);

// What a tape keeps of it. It is no node of a graph either: a program that has it runs in parts.
std::shared_ptr<const Instruction> recorded_collective(Collective collective, SharedGroup group,
                                                       std::optional<std::chrono::milliseconds> limit);

}  // namespace mlx_nif
