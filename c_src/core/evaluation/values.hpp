// Reading the values of arrays.
#pragma once

#include <cstddef>
#include <span>

#include "core/array/array.hpp"
#include "core/handles/handle.hpp"
#include "core/threads/waiting.hpp"

namespace mlx_nif {

// The value of the array in row-major order, in a handle that only the caller has.
ArrayHandle row_major_value(Array& array, Waiting waiting);

// A buffer is at one address for as long as it lives. Not on CUDA, where use on the other side moves it.
bool buffers_stay();

// The bytes of such a value. Where buffers move, this is as good as scheduling.
std::span<const std::byte> bytes_of(mlx_array row_major, Waiting waiting);

// Copies them, as many as there is room for. Of what is in the memory of a GPU nothing moves.
void copy_bytes(mlx_array row_major, std::span<std::byte> target, Waiting waiting);

// The bytes of the buffers of evaluated arrays, each buffer once.
std::size_t size_of_buffers(std::span<Array* const> arrays);

}  // namespace mlx_nif
