// Evaluations that nobody waits for, not even until they are scheduled.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/array/array.hpp"
#include "core/handles/handle.hpp"
#include "core/threads/waiting.hpp"

namespace mlx_nif {

// What an array that stands for another one is made of.
struct Successor {
  ArrayHandle handle;
  std::shared_ptr<Graph> graph;
  mlx_stream stream;
  NodeTraits traits;
};

struct Successors {
  std::vector<Successor> continued;
  std::vector<Successor> read;
};

// Has a thread of its own schedule the arrays, in the order of calls, and returns at once what stands for them. MLX
// takes as long to schedule a graph as Elixir takes to build the next one, which can so be built meanwhile.
//
// The successors of `continued` have one graph, on which the next operations are built. Those of `read` have each its
// own: whoever reads a value does not wait until what was built on it is scheduled.
Successors evaluate_ahead(std::span<Array* const> continued, std::span<Array* const> read, Waiting waiting);

// Waits until all that was given to the thread by now is scheduled.
void finish_scheduling_ahead();

}  // namespace mlx_nif
