// Taking arrays from nodes of graphs to values.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/array/array.hpp"
#include "core/array/graph_lock.hpp"
#include "core/array/unawaited.hpp"
#include "core/threads/waiting.hpp"

namespace mlx_nif {

// Computes the arrays and waits for their values. Throws Error when the computation fails.
void evaluate(std::span<Array* const> arrays, Waiting waiting,
              GraphLock::Promises promises = GraphLock::Promises::awaited);
void evaluate(Array& array, Waiting waiting);

using Started = std::vector<std::shared_ptr<Unawaited>>;

// Starts the computation of the arrays, and calls `scheduled` as soon as MLX has them, while nobody else can use them.
// What can fail on a worker thread is waited for, so that its error is raised.
Started start_evaluation(
    std::span<Array* const> arrays, Waiting waiting, GraphLock::Promises promises = GraphLock::Promises::awaited,
    const std::function<void()>& scheduled = [] {});

}  // namespace mlx_nif
