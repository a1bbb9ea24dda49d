#include "core/differentiating.hpp"

namespace mlx_nif {
namespace {

thread_local int depth = 0;

}  // namespace

bool differentiating() {
  return depth > 0;
}

bool differentiating_twice() {
  return depth > 1;
}

Differentiating::Differentiating() {
  ++depth;
}

Differentiating::~Differentiating() {
  --depth;
}

}  // namespace mlx_nif
