// Makes a kernel while no other is used.
#include "core/kernels/kernel_maker.hpp"

namespace mlx_nif {

KernelMaker& KernelMaker::instance() {
  // Never destroyed: the VM runs static destructors while its threads still compute.
  static KernelMaker* const maker = new KernelMaker;
  return *maker;
}

void KernelMaker::make(const std::function<void()>& kernel) {
  const std::lock_guard alone(in_use_);
  kernel();
}

}  // namespace mlx_nif
