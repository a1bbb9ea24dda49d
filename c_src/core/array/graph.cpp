// Joins two graphs with all that is known of their evaluations.
#include "core/array/graph.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/handles/error.hpp"

namespace mlx_nif {

std::shared_ptr<Graph> Graph::join(std::shared_ptr<Graph> a, std::shared_ptr<Graph> b) {
  if (a == b) {
    return a;
  }
  if (a->longest_way_ < b->longest_way_) {
    std::swap(a, b);
  }
  if (a->longest_way_ == b->longest_way_) {
    ++a->longest_way_;
  }
  a->nodes_ += b->nodes_;
  a->uses_cpu_ |= b->uses_cpu_;
  std::ranges::move(b->unawaited_, std::back_inserter(a->unawaited_));
  b->unawaited_.clear();
  std::ranges::move(b->promises_, std::back_inserter(a->promises_));
  b->promises_.clear();
  if (a->failure_.empty()) {
    a->failure_ = b->failure_;
  }
  if (a->failure_of_all_.empty()) {
    a->failure_of_all_ = b->failure_of_all_;
  }
  b->successor_owner_ = a;
  b->successor_.store(a.get(), std::memory_order_release);
  return a;
}

void Graph::add(std::shared_ptr<Unawaited> evaluation) {
  if (!unawaited_.empty() && unawaited_.back() == evaluation) {
    return;
  }
  std::erase_if(unawaited_, [](const auto& earlier) { return earlier->over() && earlier->failure().empty(); });
  unawaited_.push_back(std::move(evaluation));
}

void Graph::check_unawaited() {
  for (const auto& evaluation : unawaited_) {
    if (evaluation->over() && !evaluation->failure().empty()) {
      fail(Failed::all_arrays, evaluation->failure());
      throw Error(failure_);
    }
  }
}

std::span<const std::shared_ptr<const Promise>> Graph::open_promises() {
  if (promises_.empty()) {
    return {};
  }
  const auto kept = std::ranges::partition(promises_, [](const auto& promise) { return !promise->is_kept(); });
  for (const auto& promise : kept) {
    for (const auto& evaluation : promise->evaluations()) {
      add(evaluation);
    }
    if (!promise->failure().empty()) {
      fail(Failed::all_arrays, promise->failure());
    }
  }
  promises_.erase(kept.begin(), kept.end());
  return promises_;
}

void Graph::fail(Failed failed, std::string message) {
  if (failed == Failed::all_arrays) {
    failure_of_all_ = message;
  }
  failure_ = std::move(message);
}

}  // namespace mlx_nif
