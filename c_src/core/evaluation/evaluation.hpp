// Taking arrays from nodes of graphs to values.
#pragma once

#include <span>

#include "core/array/array.hpp"
#include "core/threads/waiting.hpp"

namespace mlx_nif {

// Computes the arrays and waits for their values. Throws Error when the computation fails.
void evaluate(std::span<Array* const> arrays, Waiting waiting);
void evaluate(Array& array, Waiting waiting);

// Starts the computation of the arrays. What can fail on a worker thread is waited for, so that its error is raised.
void start_evaluation(std::span<Array* const> arrays, Waiting waiting);

// Waits until all that was scheduled on the stream is done, and what it used is freed.
void synchronize(mlx_stream stream);

}  // namespace mlx_nif
