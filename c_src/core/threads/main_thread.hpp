// The thread that MLX takes for its main one.
#pragma once

#include <functional>

namespace mlx_nif {

// Runs what uses MLX for the first time, and throws what it throws. MLX raises the errors of all streams in the first
// thread that used it, whatever that is scheduling then, and afterwards waits for tasks that it never queued. So this
// is a thread of its own. It never ends, since MLX knows it by an id that the system would give to another thread.
void on_main_thread(const std::function<void()>& work);

}  // namespace mlx_nif
