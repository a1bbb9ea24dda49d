// The kinds of objects that Elixir holds by reference.
#pragma once

#include <erl_nif.h>

#include "core/array.hpp"
#include "core/group.hpp"
#include "core/kernel.hpp"
#include "nif/arrays.hpp"
#include "nif/resource.hpp"

namespace mlx_nif {

// Bytes that belong to MLX, for as long as a binary refers to them. The handle also keeps MLX from reusing the buffer.
struct SharedBytes {
  ArrayHandle owner;
};

struct GroupResource {
  SharedGroup group;
};

inline bool open_resources(ErlNifEnv* env) {
  return Resource<Array>::open(env, "array") && Resource<SharedBytes>::open(env, "bytes") &&
         Resource<StreamResource>::open(env, "stream") && Resource<GroupResource>::open(env, "group") &&
         Resource<Kernel>::open(env, "kernel");
}

}  // namespace mlx_nif
