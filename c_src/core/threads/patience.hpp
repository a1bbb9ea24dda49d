// How long a caller may be kept.
#pragma once

namespace mlx_nif {

enum class Patience {
  // A normal scheduler: microseconds. Throws NeedsDirtyScheduler when the work is more than that, or not done by then.
  none,
  // A dirty scheduler: until it is done.
  unlimited,
};

}  // namespace mlx_nif
