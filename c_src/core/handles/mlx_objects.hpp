// MLX's own objects behind those of mlx-c, for what mlx-c has no function for.
#pragma once

#include <mlx/mlx.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/handles/error.hpp"
#include "core/handles/handle.hpp"

namespace mlx_nif {

// mlx-c's object is a pointer to MLX's.
inline const mlx::core::array& array_of(mlx_array array) {
  return *static_cast<const mlx::core::array*>(array.ctx);
}

inline const mlx::core::Stream& stream_of(mlx_stream stream) {
  return *static_cast<const mlx::core::Stream*>(stream.ctx);
}

// Both number the types alike.
static_assert(static_cast<int>(mlx::core::Dtype::Val::bool_) == MLX_BOOL &&
              static_cast<int>(mlx::core::Dtype::Val::complex64) == MLX_COMPLEX64);

inline mlx_dtype type_of(mlx::core::Dtype type) {
  return static_cast<mlx_dtype>(type.val());
}

inline mlx::core::Dtype type_of(mlx_dtype type) {
  return mlx::core::Dtype(static_cast<mlx::core::Dtype::Val>(type), static_cast<std::uint8_t>(mlx_dtype_size(type)));
}

inline mlx_stream borrow(const mlx::core::Stream& stream) {
  return {const_cast<mlx::core::Stream*>(&stream)};
}

inline mlx_array borrow(const mlx::core::array& array) {
  return {const_cast<mlx::core::array*>(&array)};
}

inline std::vector<mlx_array> borrow(const std::vector<mlx::core::array>& arrays) {
  std::vector<mlx_array> borrowed;
  borrowed.reserve(arrays.size());
  for (const mlx::core::array& array : arrays) {
    borrowed.push_back(borrow(array));
  }
  return borrowed;
}

// Return arrays as a function of mlx-c does, with its status.
inline int set_result(mlx_array* result, const mlx::core::array& made) {
  return mlx_array_set(result, borrow(made));
}

inline int set_results(mlx_vector_array* results, const std::vector<mlx::core::array>& made) {
  const std::vector<mlx_array> arrays = borrow(made);
  return mlx_vector_array_set_data(results, arrays.data(), arrays.size());
}

inline ArrayHandle handle_of(const mlx::core::array& array) {
  ArrayHandle handle;
  check(mlx_array_set(handle.out(), borrow(array)));
  return handle;
}

inline std::vector<mlx::core::array> arrays_of(std::span<const mlx_array> arrays) {
  std::vector<mlx::core::array> copies;
  copies.reserve(arrays.size());
  for (const mlx_array array : arrays) {
    copies.push_back(array_of(array));
  }
  return copies;
}

inline bool on_cpu(const mlx::core::Stream& stream) {
  return stream.device == mlx::core::Device::cpu;
}

// What tells the events of arrays apart; those that were scheduled together have one. Null where there is none.
inline const std::byte* event_of(const mlx::core::array& array) {
  const mlx::core::Event& event = array.event();
  return event.valid() ? &event.cast<const std::byte>() : nullptr;
}

inline bool has_16_bits(mlx::core::Dtype type) {
  return type == mlx::core::float16 || type == mlx::core::bfloat16;
}

}  // namespace mlx_nif
