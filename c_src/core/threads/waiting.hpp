// How long a caller may be kept waiting.
#pragma once

namespace mlx_nif {

enum class Waiting {
  // A normal scheduler: microseconds. Throws NeedsDirtyScheduler when the work is more than that, or not done by then.
  brief,
  // A dirty scheduler: until it is done.
  unlimited,
};

}  // namespace mlx_nif
