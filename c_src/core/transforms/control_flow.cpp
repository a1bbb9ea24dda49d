// Evaluates what a loop, a branch or a call depends on, on the thread of the host that runs it.
#include "core/transforms/control_flow.hpp"

#include <algorithm>
#include <deque>
#include <iterator>
#include <utility>

#include "core/array/array.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/evaluation/values.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/expression.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"
#include "core/threads/autorelease_pool.hpp"
#include "core/threads/deep_thread.hpp"
#include "core/transforms/graph_copy.hpp"
#include "core/transforms/partial_compilation.hpp"

namespace mlx_nif {
namespace {

using Arrays = std::span<const mlx_array>;
using Results = std::vector<ArrayHandle>;

thread_local Host* current_host = nullptr;

Host& host() {
  return Host::current();
}

std::vector<ArrayHandle> share_all(Arrays arrays) {
  std::vector<ArrayHandle> handles;
  std::ranges::transform(arrays, std::back_inserter(handles), share);
  return handles;
}

// Arrays that only this thread reaches.
void evaluate_own(const std::vector<ArrayHandle>& handles, bool fallible) {
  const auto graph = std::make_shared<Graph>();
  graph->use_cpu();
  std::deque<Array> arrays;
  std::vector<Array*> pointers;
  for (const ArrayHandle& handle : handles) {
    const mlx_stream stream = Streams::instance().default_stream(mlx_array_dtype(handle.get()));
    pointers.push_back(&arrays.emplace_back(share(handle.get()), graph, stream, NodeTraits{.fallible = fallible}));
  }
  evaluate(pointers, Waiting::unlimited);
}

bool boolean_of(const ArrayHandle& array) {
  return bytes_of(array.get(), Waiting::unlimited).front() != std::byte{0};
}

void require_as_expected(const Results& results, const std::vector<ArrayKind>& expected) {
  const auto fits = [](const ArrayHandle& array, const auto& kind) { return kind_of(array.get()) == kind; };
  if (!std::ranges::equal(results, expected, fits)) {
    throw Error("a function returned arrays of other shapes or types than expected");
  }
}

// Most loops are short, and to make kernels takes as long as thousands of rounds.
constexpr int calls_before_compilation = 1000;

InstructionTraits dynamic_traits(const Program& first, const Program& second) {
  InstructionTraits traits = first.traits();
  traits += second.traits();
  traits.dynamic = true;
  traits.opaque = true;
  return traits;
}

class Loop final : public Instruction {
 public:
  Loop(const control_flow::ProgramPointer& condition, const control_flow::ProgramPointer& body, std::size_t state_count)
      : traits_(dynamic_traits(*condition, *body)),
        state_count_(state_count),
        condition_captured_(condition->input_count() - state_count),
        body_captured_(body->input_count() - state_count),
        condition_(compile_where_possible(condition, calls_before_compilation)),
        body_(compile_where_possible(body, calls_before_compilation)) {}

  InstructionTraits traits() const override { return traits_; }
  bool has_effects() const override { return true; }

  void run(Arrays inputs, Results& results) const override {
    const Arrays condition_captured = inputs.subspan(state_count_, condition_captured_);
    const Arrays body_captured = inputs.last(body_captured_);
    Results state = share_all(inputs.first(state_count_));
    std::vector<ArrayKind> kinds;
    std::ranges::transform(inputs.first(state_count_), std::back_inserter(kinds), kind_of);
    while (goes_on(state, condition_captured)) {
      [[maybe_unused]] const AutoreleasePool pool;
      host().check_wanted();
      state = step(*body_, state, body_captured);
      require_as_expected(state, kinds);
    }
    std::ranges::move(state, std::back_inserter(results));
  }

  void infer(Arrays inputs, Results& results) const override {
    std::ranges::move(share_all(inputs.first(state_count_)), std::back_inserter(results));
  }

 private:
  static Results step(const Instruction& instruction, const Results& state, Arrays captured) {
    std::vector<mlx_array> inputs = borrow(state);
    inputs.insert(inputs.end(), captured.begin(), captured.end());
    Results results;
    instruction.run(inputs, results);
    return results;
  }

  // Evaluates the state, too, so that it does not become a graph of all steps.
  bool goes_on(Results& state, Arrays captured) const {
    Results condition = step(*condition_, state, captured);
    state.push_back(std::move(condition.at(0)));
    evaluate_own(state, host().fallible());
    const bool result = boolean_of(state.back());
    state.pop_back();
    return result;
  }

  const InstructionTraits traits_;
  const std::size_t state_count_;
  const std::size_t condition_captured_;
  const std::size_t body_captured_;
  const std::shared_ptr<const Instruction> condition_;
  const std::shared_ptr<const Instruction> body_;
};

class Branch final : public Instruction {
 public:
  Branch(const control_flow::ProgramPointer& if_true, const control_flow::ProgramPointer& if_false)
      : traits_(dynamic_traits(*if_true, *if_false)),
        true_captured_(if_true->input_count()),
        false_captured_(if_false->input_count()),
        if_true_(compile_where_possible(if_true, calls_before_compilation)),
        if_false_(compile_where_possible(if_false, calls_before_compilation)),
        shape_of_results_(if_false) {}

  InstructionTraits traits() const override { return traits_; }
  bool has_effects() const override { return true; }

  void run(Arrays inputs, Results& results) const override {
    Results condition = share_all(inputs.first(1));
    evaluate_own(condition, host().fallible());
    if (boolean_of(condition[0])) {
      if_true_->run(inputs.subspan(1, true_captured_), results);
    } else {
      if_false_->run(inputs.last(false_captured_), results);
    }
  }

  void infer(Arrays inputs, Results& results) const override {
    std::ranges::move(shape_of_results_->infer(inputs.last(false_captured_)), std::back_inserter(results));
  }

 private:
  const InstructionTraits traits_;
  const std::size_t true_captured_;
  const std::size_t false_captured_;
  const std::shared_ptr<const Instruction> if_true_;
  const std::shared_ptr<const Instruction> if_false_;
  const control_flow::ProgramPointer shape_of_results_;
};

// What takes less time than to wait for a predicate.
constexpr std::size_t most_nodes_selected = 32;

bool cheap(const Program& program) {
  const InstructionTraits& traits = program.traits();
  return !traits.dynamic && !traits.fallible && traits.nodes <= most_nodes_selected;
}

// Computes both, so that nothing waits and MLX can compile what is around it.
class Selection final : public Instruction {
 public:
  Selection(control_flow::ProgramPointer if_true, control_flow::ProgramPointer if_false)
      : if_true_(std::move(if_true)), if_false_(std::move(if_false)) {}

  InstructionTraits traits() const override {
    InstructionTraits traits = if_true_->traits();
    traits += if_false_->traits();
    traits.nodes += if_true_->output_count();
    return traits;
  }

  void run(Arrays inputs, Results& results) const override {
    const Results chosen = if_true_->run(inputs.subspan(1, if_true_->input_count()));
    const Results others = if_false_->run(inputs.last(if_false_->input_count()));
    for (std::size_t index = 0; index < chosen.size(); ++index) {
      const mlx_stream stream = Streams::instance().default_stream(mlx_array_dtype(chosen[index].get()));
      results.push_back(apply(mlx_where, inputs[0], chosen[index].get(), others[index].get(), stream));
    }
  }

 private:
  const control_flow::ProgramPointer if_true_;
  const control_flow::ProgramPointer if_false_;
};

class HostCall final : public Instruction {
 public:
  HostCall(std::uint64_t function, std::vector<ArrayKind> results)
      : function_(function), results_(std::move(results)) {}

  InstructionTraits traits() const override { return {.dynamic = true, .opaque = true}; }
  bool has_effects() const override { return true; }

  void run(Arrays inputs, Results& results) const override {
    Results arrays = share_all(inputs);
    evaluate_own(arrays, host().fallible());
    Results given = host().call(function_, std::move(arrays));
    require_as_expected(given, results_);
    std::ranges::move(given, std::back_inserter(results));
  }

  void infer(Arrays, Results& results) const override {
    std::ranges::transform(results_, std::back_inserter(results), placeholder_of);
  }

 private:
  const std::uint64_t function_;
  const std::vector<ArrayKind> results_;
};

class CurrentHost {
 public:
  explicit CurrentHost(Host& now) : before_(std::exchange(current_host, &now)) {}
  ~CurrentHost() { current_host = before_; }
  CurrentHost(const CurrentHost&) = delete;
  CurrentHost& operator=(const CurrentHost&) = delete;

 private:
  Host* const before_;
};

}  // namespace

Host& Host::current() {
  if (current_host == nullptr) {
    throw Error("a loop, branch or call that depends on values cannot be run here");
  }
  return *current_host;
}

std::vector<ArrayHandle> Host::values_of(std::span<const mlx_array> arrays) const {
  if (differentiating()) {
    const GraphCopy copy(arrays);
    evaluating([&] { evaluate_own(copy.nodes(), fallible_); });
    copy.put_values();
  } else {
    evaluate_own(share_all(arrays), fallible_);
  }
  std::vector<ArrayHandle> values;
  std::ranges::transform(arrays, std::back_inserter(values), without_graph);
  return values;
}

void Host::evaluating(const std::function<void()>& work) {
  if (differentiating()) {
    on_deep_thread(1, work);
  } else {
    work();
  }
}

std::vector<ArrayHandle> Host::run(const Instruction& instruction, std::span<const mlx_array> inputs) {
  const CurrentHost current(*this);
  fallible_ = instruction.traits().fallible;
  Results results;
  instruction.run(inputs, results);
  evaluate_own(results, fallible_);
  return results;
}

namespace control_flow {

InstructionPointer loop(ProgramPointer condition, ProgramPointer body, std::size_t state_count) {
  require(condition->input_count() >= state_count && body->input_count() >= state_count,
          "expected a condition and a body that take the state first");
  require(condition->output_count() == 1 && body->output_count() == state_count,
          "expected a condition with one output, and a body that gives a state");
  return std::make_shared<const Loop>(condition, body, state_count);
}

InstructionPointer branch(ProgramPointer if_true, ProgramPointer if_false, bool small) {
  require(if_true->output_count() == if_false->output_count(), "expected two functions with as many outputs");
  if (small && cheap(*if_true) && cheap(*if_false)) {
    return std::make_shared<const Selection>(std::move(if_true), std::move(if_false));
  }
  return std::make_shared<const Branch>(if_true, if_false);
}

InstructionPointer host_call(std::uint64_t function, std::vector<ArrayKind> results) {
  return std::make_shared<const HostCall>(function, std::move(results));
}

}  // namespace control_flow
}  // namespace mlx_nif
