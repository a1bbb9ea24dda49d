// Ends an array: its last user frees the handle, or gives it to the reaper.
#include "core/array/array.hpp"

#include "core/array/reaper.hpp"
#include "core/handles/error.hpp"

namespace mlx_nif {
namespace {

// Freeing a handle frees what only it kept alive. A large graph takes long enough to stall a scheduler.
constexpr std::size_t max_nodes_freed_inline = 2000;

}  // namespace

void Array::deallocate() {
  if (pins_.fetch_or(deallocated, std::memory_order_acq_rel) == 0) {
    release_once();
  }
}

bool Array::try_pin() {
  if ((pins_.fetch_add(1, std::memory_order_acquire) & deallocated) != 0) {
    unpin();
    return false;
  }
  return true;
}

void Array::unpin() {
  if (pins_.fetch_sub(1, std::memory_order_acq_rel) == (deallocated | 1)) {
    release_once();
  }
}

void Array::release_once() {
  if (!released_.test_and_set(std::memory_order_acq_rel)) {
    release();
  }
}

// Never blocks: it runs in the garbage collection of a process.
void Array::release() {
  holding_.end();
  if (settled()) {
    handle_.reset();
    return;
  }
  Graph& root = graph();
  std::unique_lock lock(root.mutex(), std::try_to_lock);
  const bool owns_root = lock.owns_lock() && &graph() == &root;
  if (owns_root && root.nodes() <= max_nodes_freed_inline && !frees_slowly(root)) {
    handle_.reset();
    return;
  }
  if (lock.owns_lock()) {
    lock.unlock();
  }
  Reaper::instance().take(std::move(handle_), root);
}

Pin::Pin(Array& array) : array_(&array) {
  if (!array.try_pin()) {
    array_ = nullptr;
    throw ArgumentError("the array was deallocated");
  }
}

}  // namespace mlx_nif
