// Uses MLX without the core.
#include "sanitizers/mistakes.hpp"

#include <mlx/c/mlx.h>

#include <cstdio>
#include <thread>

#include "core/handles/error.hpp"
#include "core/streams/streams.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {

void use_without_lock() {
  Streams::instance().adopt_thread();
  const Reference sum = add(value(1), 1);
  std::jthread evaluating([&] {
    Streams::instance().adopt_thread();
    ArrayVectorHandle outputs(mlx_vector_array_new_value(sum->get()));
    check(mlx_eval(outputs.get()));
  });
  std::jthread asking([&] {
    bool available = false;
    check(_mlx_array_is_available(&available, sum->get()));
  });
}

void use_after_free() {
  ArrayHandle handle(mlx_array_new_float32(1));
  const float* element = mlx_array_data_float32(handle.get());
  handle.reset();
  std::size_t before = 0;
  check(mlx_set_cache_limit(&before, 0));
  std::printf("%f\n", static_cast<double>(*element));
}

}  // namespace mlx_nif::stress
