// Who uses the streams at the same time.
#pragma once

#include "core/threads/waiting.hpp"

namespace mlx_nif {

// While it lives, an evaluation uses the streams: alone, or with others. An error on a worker thread belongs to the
// stream and not to an array, so a graph that can fail there (loading, linear algebra) has the streams alone, from its
// scheduling to its end.
//
// Whoever waits to be alone lets others in at first, which may be done long before a long evaluation ends. After a
// second it lets no more in, or it would wait for ever where evaluations overlap all the time. The standard library's
// lock of this kind is not used because one system's lets writers starve, and the other's holds all readers up.
class StreamUse {
 public:
  // Throws NeedsDirtyScheduler when it would have to wait and must not.
  StreamUse(bool alone, Waiting waiting);
  ~StreamUse();
  StreamUse(const StreamUse&) = delete;
  StreamUse& operator=(const StreamUse&) = delete;

 private:
  const bool alone_;
};

}  // namespace mlx_nif
