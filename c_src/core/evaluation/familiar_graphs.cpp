// Hashes the nodes of a graph, operands before the operations on them.
#include "core/evaluation/familiar_graphs.hpp"

#include <functional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "core/handles/mlx_objects.hpp"
#include "core/handles/nodes.hpp"

namespace mlx_nif {
namespace {

// All are forgotten when there are more.
constexpr std::size_t most_structures = 16384;

// The operations whose kernels follow from types, shapes and layouts alone. Those of others follow from what MLX does
// not show as well: of quantized products from their mode, of convolutions from their strides.
bool is_plain(std::string_view operation) {
  static const auto* const plain = new std::unordered_set<std::string_view>{
      // Of one operand.
      "Abs", "ArcCos", "ArcCosh", "ArcSin", "ArcSinh", "ArcTan", "ArcTanh", "AsType", "BitwiseInvert", "Ceil",
      "Conjugate", "Cos", "Cosh", "Erf", "ErfInv", "Exp", "Expm1", "Floor", "Imag", "Log", "Log10", "Log1p", "Log2",
      "LogicalNot", "Negative", "Real", "Round", "Rsqrt", "Sigmoid", "Sign", "Sin", "Sinh", "Sqrt", "Square", "Tan",
      "Tanh",
      // Of several.
      "Add", "ArcTan2", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "DivMod", "Divide", "Equal", "Greater", "GreaterEqual",
      "LeftShift", "Less", "LessEqual", "LogAddExp", "LogicalAnd", "LogicalOr", "Maximum", "Minimum", "Multiply",
      "NaNEqual", "NotEqual", "Power", "Remainder", "RightShift", "Select", "Subtract",
      // Reductions, scans and products.
      "AddMM", "And", "ArgReduce", "CumLogAddExp", "CumMax", "CumMin", "CumProd", "CumSum", "LogSumExp", "Matmul",
      "Max", "Min", "Or", "Prod", "Softmax", "Sum",
      // Views, copies and new arrays.
      "Arange", "Broadcast", "BroadcastAxes", "Concatenate", "Contiguous", "Copy", "DynamicSlice", "DynamicSliceUpdate",
      "ExpandDims", "Flatten", "Full", "Gather", "GatherAxis", "Pad", "RandomBits", "Reshape", "Slice", "SliceUpdate",
      "Squeeze", "StopGradient", "Transpose", "Unflatten"};
  return plain->contains(operation);
}

// The operations whose kernels follow from their own settings as well. A compiled function calls the same ones each
// time, so that their address tells them from others. A fused kernel is named after the operations in it.
bool is_recorded(std::string_view operation) {
  static const auto* const recorded = new std::unordered_set<std::string_view>{
      "CustomKernel", "LayerNorm", "LayerNormVJP", "RMSNorm", "RMSNormVJP", "RoPE"};
  return operation.starts_with("Compiled") || operation.starts_with("Scatter") || recorded->contains(operation);
}

class Hash {
 public:
  void add(std::uint64_t value) {
    // The step of boost's hash_combine, of 64 bits.
    value_ ^= value + 0x9e3779b97f4a7c15u + (value_ << 12) + (value_ >> 4);
  }
  template <typename Elements>
  void add_all(const Elements& elements) {
    add(elements.size());
    for (const auto element : elements) {
      add(static_cast<std::uint64_t>(element));
    }
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

class Structure {
 public:
  explicit Structure(std::size_t most_nodes) : most_nodes_(most_nodes) {}

  // False when the structure does not say which kernels there are.
  bool add(const mlx::core::array& array) {
    if (const auto seen = places_.find(array.id()); seen != places_.end()) {
      hash_.add(seen->second);
      return true;
    }
    return is_unscheduled(array) ? add_operation(array) : add_operand(array);
  }

  GraphStructure value() { return {.hash = hash_.value(), .recorded = std::move(recorded_)}; }

 private:
  bool add_operand(const mlx::core::array& array) {
    add_place(array);
    add_form(array);
    const auto& flags = array.flags();
    hash_.add(flags.contiguous | flags.row_contiguous << 1 | flags.col_contiguous << 2 | (array.data_size() == 1) << 3);
    hash_.add_all(array.strides());
    return true;
  }

  bool add_operation(const mlx::core::array& array) {
    if (!array.has_primitive() || places_.size() >= most_nodes_) {
      return false;
    }
    if (on_cpu(array.primitive().stream()) || !add_kind(array.primitive_ptr())) {
      return false;
    }
    for (const mlx::core::array& input : array.inputs()) {
      if (!add(input)) {
        return false;
      }
    }
    add_place(array);
    hash_.add(array.inputs().size());
    add_form(array);
    return true;
  }

  // False when it does not say which kernel there is.
  bool add_kind(const std::shared_ptr<mlx::core::Primitive>& operation) {
    const std::string_view name = operation->name();
    if (is_plain(name)) {
      hash_.add(std::hash<std::string_view>()(name));
      return true;
    }
    // Nobody else holds an operation that was made for this graph alone.
    if (!is_recorded(name) || operation.use_count() == 1) {
      return false;
    }
    hash_.add(reinterpret_cast<std::uintptr_t>(operation.get()));
    recorded_.push_back(operation);
    return true;
  }

  void add_form(const mlx::core::array& array) {
    hash_.add(static_cast<std::uint64_t>(array.dtype().val()));
    hash_.add_all(array.shape());
  }

  void add_place(const mlx::core::array& array) { places_.emplace(array.id(), places_.size()); }

  const std::size_t most_nodes_;
  Hash hash_;
  std::vector<std::shared_ptr<mlx::core::Primitive>> recorded_;
  std::unordered_map<std::uintptr_t, std::size_t> places_;
};

}  // namespace

std::optional<GraphStructure> structure_of(std::span<const mlx_array> outputs, std::size_t most_nodes) {
  Structure structure(most_nodes);
  for (const mlx_array output : outputs) {
    if (!structure.add(array_of(output))) {
      return std::nullopt;
    }
  }
  return structure.value();
}

FamiliarGraphs& FamiliarGraphs::instance() {
  // Never destroyed: the VM runs static destructors while its threads evaluate.
  static FamiliarGraphs* const graphs = new FamiliarGraphs;
  return *graphs;
}

bool FamiliarGraphs::contains(const GraphStructure& structure) {
  const std::lock_guard lock(mutex_);
  return structures_.contains(structure.hash);
}

void FamiliarGraphs::add(GraphStructure structure) {
  // What is forgotten ends without the lock.
  decltype(structures_) forgotten;
  const std::lock_guard lock(mutex_);
  if (structures_.size() >= most_structures) {
    forgotten.swap(structures_);
  }
  structures_.try_emplace(structure.hash, std::move(structure.recorded));
}

}  // namespace mlx_nif
