// What a program is run for, which decides what its operations are made of.
#pragma once

namespace mlx_nif {

// While it lives, a program is run on this thread to differentiate it, to map it over an axis, or to make a graph that
// takes arrays of other shapes as well.
template <typename Purpose>
class RunFor {
 public:
  RunFor() { ++depth_; }
  ~RunFor() { --depth_; }
  RunFor(const RunFor&) = delete;
  RunFor& operator=(const RunFor&) = delete;

  static int depth() { return depth_; }

 private:
  inline static thread_local int depth_ = 0;
};

using Differentiating = RunFor<struct Derivative>;
using Mapping = RunFor<struct Map>;
using Portable = RunFor<struct Elsewhere>;

inline bool differentiating() {
  return Differentiating::depth() > 0;
}

// The derivative of a derivative.
inline bool differentiating_twice() {
  return Differentiating::depth() > 1;
}

inline bool mapping() {
  return Mapping::depth() > 0;
}

inline bool portable() {
  return Portable::depth() > 0;
}

}  // namespace mlx_nif
