// Owning handles for the objects of mlx-c.
#pragma once

#include <mlx/c/mlx.h>

#include <utility>

namespace mlx_nif {

// Owns one mlx-c object: all of its types are a struct with one pointer, `ctx`, and come with a function that frees it.
template <typename Object, auto Free>
class Handle {
 public:
  Handle() = default;
  explicit Handle(Object object) : object_(object) {}
  Handle(Handle&& other) noexcept : object_(std::exchange(other.object_, Object{})) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      object_ = std::exchange(other.object_, Object{});
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  Object get() const { return object_; }

  // Where an mlx-c function writes its result.
  Object* out() { return &object_; }

  // The object, which the caller owns from now on.
  Object release() { return std::exchange(object_, Object{}); }

  explicit operator bool() const { return object_.ctx != nullptr; }

  void reset() {
    if (object_.ctx != nullptr) {
      Free(object_);
      object_ = Object{};
    }
  }

 private:
  Object object_{};
};

using ArrayHandle = Handle<mlx_array, mlx_array_free>;
using ArrayVectorHandle = Handle<mlx_vector_array, mlx_vector_array_free>;
using ArrayMapHandle = Handle<mlx_map_string_to_array, mlx_map_string_to_array_free>;
using StringMapHandle = Handle<mlx_map_string_to_string, mlx_map_string_to_string_free>;
using StringHandle = Handle<mlx_string, mlx_string_free>;
using StringVectorHandle = Handle<mlx_vector_string, mlx_vector_string_free>;
using StreamHandle = Handle<mlx_stream, mlx_stream_free>;
using DeviceHandle = Handle<mlx_device, mlx_device_free>;
using DeviceInfoHandle = Handle<mlx_device_info, mlx_device_info_free>;
using GroupHandle = Handle<mlx_distributed_group, mlx_distributed_group_free>;

}  // namespace mlx_nif
