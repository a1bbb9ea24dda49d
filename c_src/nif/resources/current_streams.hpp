// The stream that a process has chosen for its operations.
#pragma once

#include <erl_nif.h>
#include <mlx/c/mlx.h>

namespace mlx_nif {

class StreamResource;

// Kept here and not in the process's dictionary, because every operation asks for it, and a look into the dictionary
// would cost a fifth of an operation. While no process has chosen a stream, to ask is to read one number.
namespace current_streams {

// The stream of the calling process; the default stream when it has chosen none.
mlx_stream of_caller(ErlNifEnv* env);

// Chooses for the calling process, until the process chooses again or ends. Null for the default stream.
void choose(ErlNifEnv* env, StreamResource* stream);

// A process that chose has ended.
void forget(const ErlNifPid& pid);

}  // namespace current_streams

}  // namespace mlx_nif
