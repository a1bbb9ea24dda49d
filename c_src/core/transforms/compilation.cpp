// Takes apart the graph that MLX compiled, and copies it over the arguments of each call.
#include "core/transforms/compilation.hpp"

#include <mlx/compile_impl.h>
#include <mlx/primitives.h>

#include <algorithm>
#include <array>
#include <format>
#include <iterator>
#include <string_view>
#include <typeinfo>
#include <unordered_map>
#include <utility>

#include "core/guards/long_sums.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/kernels/fused_casts.hpp"
#include "core/kernels/fused_kernel.hpp"
#include "core/recording/deferred.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/threads/deep_thread.hpp"
#include "core/transforms/changing_numbers.hpp"
#include "core/transforms/graph_sources.hpp"
#include "core/transforms/merged_sources.hpp"
#include "core/transforms/transforms.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// The evaluation of a first result makes kernels: so long nothing is evaluated on a normal scheduler.
constexpr int calls_that_may_make_kernels = 16;
constexpr std::size_t nodes_while_kernels_are_made = 1000;

// Each thread has a cache of MLX's own, where one function is at a time, and nothing stays.
constexpr std::uintptr_t only_function = 1;

struct ForgetCompiled {
  ~ForgetCompiled() { mx::detail::compile_erase(mx::detail::compile_cache(), only_function); }
};

}  // namespace

// The nodes of a compiled function, in the order of computation.
class CompiledFunction::Graph {
 public:
  Graph(const std::vector<mx::array>& placeholders, const std::vector<mx::array>& outputs, bool shapeless)
      : shapeless_(shapeless) {
    for (const mx::array& placeholder : placeholders) {
      add_place(placeholder);
      inputs_.emplace_back(placeholder.shape(), placeholder.dtype());
    }
    for (const mx::array& output : outputs) {
      add(output);
    }
    for (const mx::array& output : outputs) {
      outputs_.push_back(places_of_.at(output.id()));
    }
    places_of_.clear();
  }

  std::size_t node_count() const { return nodes_.size(); }

  void call(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const {
    // Those of the call and of this graph are not counted once more, and those that are made do not move.
    std::vector<const mx::array*> arrays(place_count_);
    std::vector<mx::array> made;
    made.reserve(output_kinds_.size());
    for (std::size_t index = 0; index < inputs_.size(); ++index) {
      arrays[index] = &array_of(inputs[index]);
      check_input(inputs_[index], *arrays[index]);
    }
    for (const auto& [place, constant] : constants_) {
      arrays[place] = &constant;
    }
    const auto put = [&](const Node& node, std::vector<mx::array> outputs) {
      for (std::size_t index = 0; index < node.output_count; ++index) {
        arrays[node.first_output + index] = &made.emplace_back(std::move(outputs.at(index)));
      }
    };
    for (const Node& node : nodes_) {
      std::vector<mx::array> node_inputs;
      node_inputs.reserve(node.input_count);
      for (const std::size_t input : std::span(input_places_).subspan(node.first_input, node.input_count)) {
        node_inputs.push_back(*arrays[input]);
      }
      if (node.deferred != nullptr) {
        put(node, node.deferred->run(node_inputs));
        continue;
      }
      const mx::array*& output = arrays[node.first_output];
      const auto& [known_shape, type] = output_kinds_[node.first_kind];
      if (shapeless_ && reduces_nothing(*node.primitive, node_inputs)) {
        output = &made.emplace_back(mx::astype(node_inputs.front(), type, node.primitive->stream()));
        continue;
      }
      if (node.output_count > 1) {
        put(node, make_several(node, node_inputs));
        continue;
      }
      mx::Shape shape = shapeless_ ? node.primitive->output_shapes(node_inputs)[0] : known_shape;
      output = &made.emplace_back(std::move(shape), type, node.primitive, std::move(node_inputs));
    }
    const std::size_t first = results.size();
    results.reserve(first + outputs_.size());
    for (const std::size_t output : outputs_) {
      results.push_back(handle_of(*arrays[output]));
    }
    if (shapeless_) {
      add_in_pieces(borrow(std::span(results).subspan(first)), inputs);
    }
  }

 private:
  struct Node {
    std::shared_ptr<mx::Primitive> primitive;
    // The primitive, if it is such.
    const Deferred* deferred;
    // In `input_places_`.
    std::size_t first_input;
    std::size_t input_count;
    // The places of its outputs, one after another.
    std::size_t first_output;
    std::size_t output_count;
    // In `output_kinds_`.
    std::size_t first_kind;
  };

  using Kind = std::pair<mx::Shape, mx::Dtype>;

  std::vector<mx::array> make_several(const Node& node, const std::vector<mx::array>& inputs) const {
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> types;
    for (const auto& [shape, type] : std::span(output_kinds_).subspan(node.first_kind, node.output_count)) {
      shapes.push_back(shape);
      types.push_back(type);
    }
    if (shapeless_) {
      shapes = node.primitive->output_shapes(inputs);
    }
    return mx::array::make_arrays(std::move(shapes), types, node.primitive, inputs);
  }

  // MLX reads memory that is not its own for axes of one element only. Where shapes are known it leaves such a
  // reduction out.
  static bool reduces_nothing(mx::Primitive& primitive, const std::vector<mx::array>& inputs) {
    static constexpr std::array<std::string_view, 6> reductions{"And", "Or", "Sum", "Prod", "Min", "Max"};
    return std::ranges::find(reductions, primitive.name()) != reductions.end() &&
           std::ranges::all_of(static_cast<mx::Reduce&>(primitive).state().second,
                               [&](int axis) { return inputs.front().shape(axis) == 1; });
  }

  void check_input(const Kind& expected, const mx::array& input) const {
    const auto& [shape, type] = expected;
    if (input.dtype() != type || (shapeless_ ? input.ndim() != shape.size() : input.shape() != shape)) {
      throw ArgumentError("expected arrays as those that the function was compiled for");
    }
  }

  std::size_t add_place(const mx::array& array) {
    places_of_.emplace(array.id(), place_count_);
    return place_count_++;
  }

  bool is_added(const mx::array& array) const { return places_of_.contains(array.id()); }

  // The node of the array after those of its inputs, without recursion.
  void add(const mx::array& output) {
    std::vector<const mx::array*> open{&output};
    while (!open.empty()) {
      const mx::array& array = *open.back();
      if (is_added(array)) {
        open.pop_back();
      } else if (!array.has_primitive()) {
        constants_.emplace_back(add_place(array), array);
        open.pop_back();
      } else if (const mx::array* number = number_of(array.primitive())) {
        constants_.emplace_back(add_place(array), *number);
        open.pop_back();
      } else {
        bool ready = true;
        for (const mx::array& input : array.inputs()) {
          if (!is_added(input)) {
            open.push_back(&input);
            ready = false;
          }
        }
        if (ready) {
          add_node(array);
          open.pop_back();
        }
      }
    }
  }

  void add_node(const mx::array& array) {
    const mx::Primitive& primitive = array.primitive();
    nodes_.push_back(
        {.primitive = with_fallback(array.primitive_ptr()),
         .deferred = typeid(primitive) == typeid(Deferred) ? static_cast<const Deferred*>(&primitive) : nullptr,
         .first_input = input_places_.size(),
         .input_count = array.inputs().size(),
         .first_output = place_count_,
         .output_count = array.siblings().size() + 1,
         .first_kind = output_kinds_.size()});
    for (const mx::array& input : array.inputs()) {
      input_places_.push_back(places_of_.at(input.id()));
    }
    const auto add_output = [this](const mx::array& output) {
      add_place(output);
      output_kinds_.emplace_back(output.shape(), output.dtype());
    };
    if (array.siblings().empty()) {
      add_output(array);
    } else {
      std::ranges::for_each(array.outputs(), add_output);
    }
  }

  const bool shapeless_;
  std::vector<Kind> inputs_;
  std::size_t place_count_ = 0;
  std::vector<std::pair<std::size_t, mx::array>> constants_;
  std::vector<Node> nodes_;
  std::vector<std::size_t> input_places_;
  std::vector<Kind> output_kinds_;
  std::vector<std::size_t> outputs_;
  // While it is made.
  std::unordered_map<std::uintptr_t, std::size_t> places_of_;
};

CompiledFunction::CompiledFunction(std::shared_ptr<const Program> program, bool shapeless, int calls_before,
                                   std::vector<NumbersPointer> former_numbers)
    : program_(std::move(program)),
      shapeless_(shapeless),
      calls_before_(calls_before),
      former_numbers_(std::move(former_numbers)) {
  if (program_->traits().dynamic) {
    throw ArgumentError("a function with loops, branches or calls that depend on values cannot be compiled as a whole");
  }
}

CompiledFunction::~CompiledFunction() = default;

InstructionTraits CompiledFunction::traits() const {
  InstructionTraits traits = program_->traits();
  traits.depth = 0;
  const Graph* graph = compiled_.load(std::memory_order_acquire);
  if (calls_.load(std::memory_order_relaxed) < calls_before_ + calls_that_may_make_kernels) {
    traits.nodes = nodes_while_kernels_are_made;
  } else if (graph != nullptr) {
    traits.nodes = graph->node_count();
  }
  return traits;
}

void CompiledFunction::run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const {
  if (inputs.size() != program_->input_count()) {
    throw ArgumentError("expected as many arrays as the recorded function takes");
  }
  const int calls = calls_.load(std::memory_order_relaxed);
  if (calls < calls_before_ + calls_that_may_make_kernels) {
    calls_.fetch_add(1, std::memory_order_relaxed);
  }
  if (calls < calls_before_) {
    std::ranges::move(program_->run(inputs), std::back_inserter(results));
  } else {
    compiled_for(inputs).call(inputs, results);
  }
}

CompiledFunction::NumbersPointer CompiledFunction::numbers() const {
  return compiled_.load(std::memory_order_acquire) == nullptr ? nullptr : numbers_;
}

std::shared_ptr<const Instruction> CompiledFunction::recorded_as() const {
  return transforms::call(program_);
}

const CompiledFunction::Graph& CompiledFunction::compiled_for(std::span<const mlx_array> inputs) const {
  if (const Graph* graph = compiled_.load(std::memory_order_acquire)) {
    return *graph;
  }
  const std::lock_guard lock(mutex_);
  if (!graph_) {
    std::vector<mx::array> placeholders;
    for (const mlx_array input : inputs) {
      const mx::array& array = array_of(input);
      placeholders.emplace_back(array.shape(), array.dtype(), nullptr, std::vector<mx::array>{});
    }
    with_stack_for(program_->traits().nodes, [&] {
      const auto scope = shapeless_ ? std::make_unique<const Portable>() : nullptr;
      const auto run = [this](const std::vector<mx::array>& arrays) {
        auto outputs = arrays_of(borrow(program_->run(borrow(arrays))));
        const GraphSources sources(outputs);
        numbers_ = Numbers::make_inputs(sources, former_numbers_);
        merge_sources(sources);
        cast_real_parts(outputs);
        return outputs;
      };
      const ForgetCompiled forget;
      const auto compiled = mx::detail::compile(run, only_function, shapeless_);
      graph_ = std::make_unique<const Graph>(placeholders, compiled(placeholders), shapeless_);
    });
    former_numbers_.clear();
    compiled_.store(graph_.get(), std::memory_order_release);
  }
  return *graph_;
}

}  // namespace mlx_nif
