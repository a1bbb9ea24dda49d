// Functions in files, and what MLX tells of functions and graphs.
#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/evaluation/values.hpp"
#include "core/threads/deep_thread.hpp"
#include "core/transforms/function_file.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/resources.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

// What functions use from outside. MLX writes the bytes of an array whatever its strides are, so these are row-major,
// and one value for all functions that use the array, which the file then holds once.
class CapturedValues {
 public:
  mlx_array of(Array& array) {
    ArrayHandle& value = values_[&array];
    if (!value) {
      value = row_major_value(array, Waiting::unlimited);
    }
    return value.get();
  }

 private:
  std::unordered_map<const Array*, ArrayHandle> values_;
};

// A call of `export_functions` as it comes from Elixir: {program, inputs, keywords, captured}.
class DecodedCall {
 public:
  DecodedCall(ErlNifEnv* env, ERL_NIF_TERM term, CapturedValues& values)
      : DecodedCall(env, elements<4>(env, term), values) {}

  const std::vector<Array*>& inputs() const { return inputs_; }
  const Program& program() const { return *program_; }

  // Under the locks of the inputs.
  ExampleCall example() const {
    ExampleCall call{.program = program_, .inputs = {}, .keywords = keywords_, .captured = captured_};
    std::ranges::transform(inputs_, std::back_inserter(call.inputs), &Array::get);
    return call;
  }

 private:
  DecodedCall(ErlNifEnv* env, const std::array<ERL_NIF_TERM, 4>& parts, CapturedValues& values)
      : pinned_(env, parts[1]), inputs_(pinned_.all().begin(), pinned_.all().end()) {
    program_ = decode<std::shared_ptr<const Program>>(env, parts[0]);
    keywords_ = decode<std::vector<std::string>>(env, parts[2]);
    const PinnedArrays captured(env, parts[3]);
    std::ranges::transform(captured.all(), std::back_inserter(captured_),
                           [&values](Array* array) { return values.of(*array); });
    if (keywords_.size() > inputs_.size() || inputs_.size() + captured_.size() != program_->input_count()) {
      throw ArgumentError("expected the arrays that the function was recorded for");
    }
  }

  PinnedArrays pinned_;
  std::vector<Array*> inputs_;
  std::shared_ptr<const Program> program_;
  std::vector<std::string> keywords_;
  std::vector<mlx_array> captured_;
};

std::size_t nodes_of(const std::vector<std::unique_ptr<DecodedCall>>& calls) {
  std::size_t nodes = 0;
  for (const auto& call : calls) {
    nodes = std::max(nodes, call->program().traits().nodes);
  }
  return nodes;
}

// Path, calls, shapeless, metadata.
ERL_NIF_TERM write_file(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  const auto shapeless = decode<bool>(env, argv[2]);
  const auto metadata = decode<std::string>(env, argv[3]);
  CapturedValues values;
  std::vector<std::unique_ptr<DecodedCall>> calls;
  std::vector<Array*> inputs;
  for_each_element(env, argv[1], [&](ERL_NIF_TERM term) {
    const DecodedCall& call = *calls.emplace_back(std::make_unique<DecodedCall>(env, term, values));
    inputs.insert(inputs.end(), call.inputs().begin(), call.inputs().end());
  });
  const GraphLock lock(inputs, on_dirty_scheduler);
  std::vector<ExampleCall> examples;
  std::ranges::transform(calls, std::back_inserter(examples), [](const auto& call) { return call->example(); });
  with_stack_for(nodes_of(calls), [&] { export_functions(path, examples, shapeless, metadata); });
  return atoms.ok;
}

class DescriptionEncoder {
 public:
  explicit DescriptionEncoder(ErlNifEnv* env) : env_(env) {}

  ERL_NIF_TERM encode(Description& description) const {
    return std::visit([this](auto& value) { return term(value); }, description.value);
  }

 private:
  ERL_NIF_TERM term(std::monostate) const { return atoms.nil; }
  ERL_NIF_TERM term(bool value) const { return make_boolean(value); }
  ERL_NIF_TERM term(std::int64_t value) const { return enif_make_int64(env_, value); }
  ERL_NIF_TERM term(double value) const { return make_float(env_, value); }
  ERL_NIF_TERM term(const std::string& value) const { return make_binary(env_, value); }
  ERL_NIF_TERM term(mlx_dtype value) const { return type_atom(value); }
  ERL_NIF_TERM term(ArrayHandle& value) const { return make_value(env_, std::move(value)); }
  ERL_NIF_TERM term(Description::List& list) const {
    std::vector<ERL_NIF_TERM> terms;
    std::ranges::transform(list, std::back_inserter(terms), [this](Description& element) { return encode(element); });
    return enif_make_list_from_array(env_, terms.data(), static_cast<unsigned>(terms.size()));
  }

  ErlNifEnv* env_;
};

// A call as for `export_functions`, shapeless.
ERL_NIF_TERM describe(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  CapturedValues values;
  const DecodedCall call(env, argv[0], values);
  const auto shapeless = decode<bool>(env, argv[1]);
  const GraphLock lock(call.inputs(), on_dirty_scheduler);
  Description description;
  with_stack_for(call.program().traits().nodes, [&] { description = describe_function(call.example(), shapeless); });
  return DescriptionEncoder(env).encode(description);
}

// {function, metadata}
ERL_NIF_TERM read_file(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  auto function = std::make_shared<ImportedFunction>(decode<std::string>(env, argv[0]));
  const ERL_NIF_TERM metadata = make_binary(env, function->metadata());
  return enif_make_tuple2(env, Resource<ImportedResource>::make(env, std::move(function)), metadata);
}

// An instruction that calls an imported function with so many arrays, the last ones by keyword.
ERL_NIF_TERM make_call(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto& imported = decode_resource<ImportedResource>(env, argv[0], "an imported function");
  return Resource<InstructionResource>::make(env, std::string("Mlx.Unsafe.import_function"),
                                             imported_call(imported.function, decode<std::size_t>(env, argv[1]),
                                                           decode<std::vector<std::string>>(env, argv[2])));
}

// Arrays, and a name, or "", for each.
ERL_NIF_TERM describe_graph(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const PinnedArrays arrays(env, argv[0]);
  const auto names = decode<std::vector<std::string>>(env, argv[1]);
  if (names.size() != arrays.all().size()) {
    throw ArgumentError("expected a name for each array");
  }
  GraphLock lock(arrays.all(), on_dirty_scheduler);
  std::vector<mlx_array> handles;
  std::ranges::transform(arrays.all(), std::back_inserter(handles), &Array::get);
  std::string text;
  with_stack_for(lock.join()->nodes(), [&] { text = graph_in_dot(handles, names); });
  return make_binary(env, text);
}

}  // namespace

std::vector<ErlNifFunc> function_file_functions() {
  return {
      dirty_function<"export_functions", 4, write_file>(),  dirty_function<"describe_function", 2, describe>(),
      dirty_function<"import_function", 1, read_file>(),    function<"imported_call", 3, make_call>(),
      dirty_function<"export_to_dot", 2, describe_graph>(),
  };
}

}  // namespace mlx_nif
