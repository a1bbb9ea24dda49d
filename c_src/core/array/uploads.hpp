// Elements of the VM as arrays.
#pragma once

#include <mlx/c/mlx.h>

#include <cstddef>
#include <span>

#include "core/handles/handle.hpp"

namespace mlx_nif {

// An array with a copy of the elements, row-major in the machine's byte order.
ArrayHandle upload(const void* elements, std::span<const int> shape, mlx_dtype type);

// As `upload` does it on CUDA. There MLX takes any free buffer for elements of the host, most often one in the memory
// of the GPU. It then allocates a buffer that the host shares, copies into it what the other one holds, and waits for
// that: longer than everything else that a decoding step does for a mask. Buffers that were shared once are kept apart
// here.
ArrayHandle upload_into_kept_buffer(const void* elements, std::span<const int> shape, mlx_dtype type);

// How many bytes of such buffers are free. MLX counts them as memory in use.
std::size_t bytes_kept_for_uploads();

// MLX gets the free ones.
void free_buffers_kept_for_uploads();

}  // namespace mlx_nif
