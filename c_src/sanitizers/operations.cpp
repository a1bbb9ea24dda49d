// Builds, evaluates and reads arrays, each as a call that runs again where it may wait.
#include "sanitizers/operations.hpp"

#include <cstring>

#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/values.hpp"
#include "core/guards/index_guards.hpp"
#include "core/handles/expression.hpp"

namespace mlx_nif::stress {
namespace {

constexpr std::int64_t bytes_of_array = std::int64_t{1} << 20;

ArrayHandle number_handle(float number) {
  return ArrayHandle(mlx_array_new_float32(number));
}

}  // namespace

void begin_process() {
  static std::atomic<Holdings::Process> last{0};
  current_process = ++last;
}

Holding holding() {
  return {Holdings::of(current_process), bytes_of_array};
}

Reference evaluated(ArrayHandle handle) {
  return std::make_shared<Array>(std::move(handle), holding());
}

Reference value(float number) {
  return call([&](Waiting) { return evaluated(number_handle(number)); });
}

Reference matrix(float number, int size) {
  return call([&](Waiting) {
    const std::vector<float> elements(static_cast<std::size_t>(size) * size, number);
    const int shape[] = {size, size};
    return evaluated(ArrayHandle(mlx_array_new_data(elements.data(), shape, 2, MLX_FLOAT32)));
  });
}

Reference add(const Reference& a, const Reference& b, BuildTraits traits) {
  return build({a, b}, [&](mlx_stream stream) { return apply(mlx_add, a->get(), b->get(), stream); }, traits);
}

Reference add(const Reference& a, float number, BuildTraits traits) {
  const ArrayHandle constant = number_handle(number);
  return build({a}, [&](mlx_stream stream) { return apply(mlx_add, a->get(), constant.get(), stream); }, traits);
}

Reference multiply(const Reference& a, const Reference& b) {
  return build({a, b}, [&](mlx_stream stream) { return apply(mlx_multiply, a->get(), b->get(), stream); });
}

Reference remainder(const Reference& a, float divisor) {
  const ArrayHandle constant = number_handle(divisor);
  return build({a}, [&](mlx_stream stream) { return apply(mlx_remainder, a->get(), constant.get(), stream); });
}

Reference matmul(const Reference& a, const Reference& b) {
  return build({a, b}, [&](mlx_stream stream) { return apply(mlx_matmul, a->get(), b->get(), stream); });
}

Reference take(const Reference& a, const Reference& indices) {
  return build({a, indices}, [&](mlx_stream stream) {
    const ArrayHandle integers = apply(mlx_astype, indices->get(), MLX_INT32, stream);
    return apply(guarded::take, a->get(), integers.get(), stream);
  });
}

Reference transpose(const Reference& a) {
  return build({a}, [&](mlx_stream stream) { return apply(mlx_transpose, a->get(), stream); });
}

Reference inverse(const Reference& a) {
  return build({a}, [&](mlx_stream stream) { return apply(mlx_linalg_inv, a->get(), stream); }, {.fallible = true});
}

std::vector<Reference> halves(const Reference& a) {
  return build_all({a}, [&](mlx_stream stream) {
    ArrayVectorHandle parts;
    check(mlx_split(parts.out(), a->get(), 2, 0, stream));
    std::vector<ArrayHandle> handles(mlx_vector_array_size(parts.get()));
    for (std::size_t index = 0; index < handles.size(); ++index) {
      check(mlx_vector_array_get(handles[index].out(), parts.get(), index));
    }
    return handles;
  });
}

void evaluate_now(const std::vector<Reference>& arrays) {
  call([&](Waiting waiting) { evaluate(Operands(arrays).all(), waiting); });
}

void start(const std::vector<Reference>& arrays) {
  call([&](Waiting waiting) { start_evaluation(Operands(arrays).all(), waiting); });
}

bool is_available(const Reference& array) {
  return call([&](Waiting waiting) {
    const Operands operands{array};
    const GraphLock lock(operands.all(), waiting);
    return array->settled();
  });
}

ArrayHandle hold(const Reference& array) {
  return call([&](Waiting waiting) {
    const Operands operands{array};
    return row_major_value(*array, waiting);
  });
}

float first_element(const ArrayHandle& value) {
  float element = 0;
  std::memcpy(&element, bytes_of(value.get(), Waiting::unlimited).data(), sizeof(element));
  return element;
}

float read(const Reference& array) {
  return first_element(hold(array));
}

}  // namespace mlx_nif::stress
