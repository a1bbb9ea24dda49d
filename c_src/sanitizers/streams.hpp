// Streams that threads borrow and give back, and what has them rest.
#pragma once

#include "core/handles/handle.hpp"

namespace mlx_nif::stress {

StreamHandle borrow_stream();

// Threads borrow streams, let graphs go across them, and give them back while others borrow.
void borrowed_streams();

// Streams that nobody has given back yet make MLX start new ones while others evaluate.
void new_streams();

// One waits to have the streams alone: others are let in meanwhile, but not for ever.
void courtesy();

// What asks for and changes MLX's memory while others compute.
void memory_queries();

}  // namespace mlx_nif::stress
