// Derives from the strides of arrays which kernel MLX uses, and the least arrays that have the same.
#include "core/kernels/small_storage.hpp"

#include <mlx/allocator.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// FNV-1a.
class Hash {
 public:
  void add(std::uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3; }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325;
};

mx::Shape small(const mx::Shape& shape) {
  mx::Shape result;
  for (const auto size : shape) {
    result.push_back(std::min<mx::ShapeElem>(size, 2));
  }
  return result;
}

// The strides of an array along the axes of the results, to which it is repeated. MLX takes those of the results where
// both have one element.
mx::Strides repeated(const mx::Shape& own_shape, const mx::Strides& own, const mx::Shape& shape) {
  mx::Strides strides(shape.size());
  const std::size_t first = shape.size() - own_shape.size();
  std::int64_t result_stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    const bool repeats = axis < first || own_shape[axis - first] == 1;
    strides[axis] = !repeats ? own[axis - first] : shape[axis] == 1 ? result_stride : 0;
    result_stride *= shape[axis];
  }
  return strides;
}

// Whether an axis can be joined with the next.
bool joined(const mx::Strides& strides, const mx::Shape& shape, std::size_t axis) {
  return strides[axis] == strides[axis + 1] * shape[axis + 1];
}

// The strides of a small array, of which the same axes can be joined.
mx::Strides small_strides(const mx::array& array, const mx::Shape& shape) {
  const mx::Strides before = repeated(array.shape(), array.strides(), shape);
  const mx::Shape small_shape = small(shape);
  mx::Strides strides = array.strides();
  const std::size_t first = shape.size() - array.ndim();
  for (std::size_t axis = array.ndim(); axis-- > 0;) {
    const std::size_t place = first + axis;
    const std::int64_t sign = before[place] < 0 ? -1 : 1;
    if (before[place] == 0 || place + 1 == shape.size()) {
      strides[axis] = before[place] == 0 ? 0 : sign;
      continue;
    }
    const std::int64_t next = repeated(small(array.shape()), strides, small_shape)[place + 1] * small_shape[place + 1];
    strides[axis] = joined(before, shape, place) ? next : sign * (3 * std::abs(next) + 1);
  }
  return strides;
}

std::size_t elements(const mx::Shape& shape) {
  std::size_t count = 1;
  for (const auto size : shape) {
    count *= static_cast<std::size_t>(size);
  }
  return count;
}

}  // namespace

StorageId storage_id(const std::vector<mx::array>& inputs, const mx::Shape& shape) {
  Hash hash;
  for (const auto size : shape) {
    hash.add(size == 1 ? 1 : 2);
  }
  for (const mx::array& input : inputs) {
    const auto flags = input.flags();
    hash.add(input.ndim() == 0 ? 3 : 4);
    if (input.ndim() == 0) {
      continue;
    }
    hash.add((flags.contiguous ? 1U : 0U) | (flags.row_contiguous ? 2U : 0U) | (flags.col_contiguous ? 4U : 0U) |
             (input.shape() == shape ? 8U : 0U));
    const mx::Strides strides = repeated(input.shape(), input.strides(), shape);
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      const bool joins = axis + 1 < shape.size() && joined(strides, shape, axis);
      hash.add((strides[axis] == 0 ? 1U : 0U) | (strides[axis] < 0 ? 2U : 0U) | (joins ? 4U : 0U));
    }
  }
  return hash.value();
}

SmallStorage::SmallStorage(const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs)
    : shape_(small(outputs[0].shape())) {
  for (const mx::array& input : inputs) {
    inputs_.push_back({small(input.shape()), small_strides(input, outputs[0].shape()), input.flags(), input.dtype()});
  }
  for (const mx::array& output : outputs) {
    types_.push_back(output.dtype());
  }
}

std::vector<mx::array> SmallStorage::inputs() const {
  std::vector<mx::array> arrays;
  for (const Input& input : inputs_) {
    // Elements before the first, where strides are negative, and behind it.
    std::size_t reach = elements(shape_);
    for (std::size_t axis = 0; axis < input.shape.size(); ++axis) {
      reach += static_cast<std::size_t>(std::abs(input.strides[axis]) * input.shape[axis]);
    }
    const std::size_t bytes = 2 * reach * mx::size_of(input.type);
    mx::array array(input.shape, input.type, nullptr, {});
    array.set_data(mx::allocator::malloc(bytes), elements(input.shape), input.strides, input.flags);
    std::memset(array.data<std::byte>(), 1, bytes);
    mx::array middle(input.shape, input.type, nullptr, {});
    middle.copy_shared_buffer(array, input.strides, input.flags, elements(input.shape),
                              static_cast<std::int64_t>(reach));
    arrays.push_back(std::move(middle));
  }
  return arrays;
}

std::vector<mx::array> SmallStorage::outputs() const {
  std::vector<mx::array> arrays;
  for (const mx::Dtype type : types_) {
    arrays.emplace_back(shape_, type, nullptr, std::vector<mx::array>{});
  }
  return arrays;
}

}  // namespace mlx_nif
