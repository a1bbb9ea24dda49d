// A vector that needs no memory of its own while it is short.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace mlx_nif {

// For the few pointers that nearly every call deals with: an allocation would cost as much as the rest of it.
template <typename T, std::size_t Few>
  requires std::is_trivially_copyable_v<T>
class SmallVector {
 public:
  void push_back(T element) {
    if (many_.empty() && size_ < Few) {
      few_[size_++] = element;
      return;
    }
    if (many_.empty()) {
      many_.assign(few_.begin(), few_.end());
    }
    many_.push_back(element);
    size_ = many_.size();
  }

  void clear() {
    many_.clear();
    size_ = 0;
  }

  // To at most as many elements as there are.
  void shrink(std::size_t size) {
    if (!many_.empty()) {
      many_.resize(size);
      if (size <= Few) {
        std::copy_n(many_.begin(), size, few_.begin());
        many_.clear();
      }
    }
    size_ = size;
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  std::span<T> all() { return {many_.empty() ? few_.data() : many_.data(), size_}; }
  std::span<const T> all() const { return {many_.empty() ? few_.data() : many_.data(), size_}; }

 private:
  std::array<T, Few> few_;
  std::size_t size_ = 0;
  std::vector<T> many_;
};

}  // namespace mlx_nif
