// Operations whose graph depends on a number that is known when a compiled function is called, and not when it is
// compiled.
#pragma once

#include <mlx/primitives.h>

#include <functional>
#include <utility>
#include <vector>

#include "core/handles/mlx_objects.hpp"

namespace mlx_nif {

// Stands in a compiled function for the operations that each call makes anew of its inputs. Whatever the numbers are,
// the results have the shapes and types of this node's.
class Deferred final : public mlx::core::Primitive {
 public:
  using Arrays = std::vector<mlx::core::array>;
  using Operations = std::function<Arrays(const Arrays& inputs)>;

  Deferred(mlx::core::Stream stream, Operations operations)
      : Primitive(std::move(stream)), operations_(std::move(operations)) {}

  Arrays run(const Arrays& inputs) const { return operations_(inputs); }

  void eval_cpu(const Arrays&, Arrays&) override { refuse(); }
  void eval_gpu(const Arrays&, Arrays&) override { refuse(); }
  const char* name() const override { return "Deferred"; }

 private:
  [[noreturn]] static void refuse() { throw Error("a number that shapes depend on has to be known"); }

  const Operations operations_;
};

}  // namespace mlx_nif
