// What programs run for.
#pragma once

namespace mlx_nif {

// While it lives, a program is run on this thread to differentiate it, to map it over an axis, or to make a graph that
// takes arrays of other shapes as well.
template <typename Purpose>
class Running {
 public:
  Running() { ++depth_; }
  ~Running() { --depth_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  static int depth() { return depth_; }

 private:
  inline static thread_local int depth_ = 0;
};

using Differentiating = Running<struct Derivative>;
using Mapping = Running<struct Map>;
using Portable = Running<struct Elsewhere>;

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
