// Operations that throw on the thread of their stream, or while they are scheduled.
#include "sanitizers/late_failures.hpp"

#include <mlx/primitives.h>
#include <mlx/scheduler.h>

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif::stress {
namespace {

using mlx::core::array;

// Gives its input, and does something when it is scheduled.
class Passing : public mlx::core::UnaryPrimitive {
 public:
  using UnaryPrimitive::UnaryPrimitive;

  void eval_cpu(const std::vector<array>& inputs, array& output) override {
    scheduled();
    output.copy_shared_buffer(inputs.front());
  }
  void eval_gpu(const std::vector<array>&, array&) override { throw std::runtime_error("not for a GPU"); }
  const char* name() const override { return "Passing"; }

 private:
  virtual void scheduled() = 0;
};

class FailsLate final : public Passing {
 public:
  using Passing::Passing;

 private:
  void scheduled() override {
    mlx::core::scheduler::enqueue(stream(), [] { throw std::runtime_error(late_message); });
  }
};

class DisturbedOnce final : public Passing {
 public:
  using Passing::Passing;

 private:
  void scheduled() override {
    if (!std::exchange(disturbed_, true)) {
      throw std::runtime_error("[METAL] Command buffer execution failed: of somebody else.");
    }
  }

  bool disturbed_ = false;
};

template <typename Primitive>
Reference pass(const Reference& input, mlx_stream stream) {
  return build(
      {input},
      [&](mlx_stream) {
        const array& node = array_of(input->get());
        return handle_of(array(node.shape(), node.dtype(), std::make_shared<Primitive>(stream_of(stream)), {node}));
      },
      {.stream = stream});
}

}  // namespace

Reference fails_late(const Reference& array, mlx_stream stream) {
  return pass<FailsLate>(array, stream);
}

Reference disturbed_once(const Reference& array) {
  return pass<DisturbedOnce>(array, Streams::instance().default_stream());
}

}  // namespace mlx_nif::stress
