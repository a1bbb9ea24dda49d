// Writes, reads and describes functions by way of MLX's C++ API: that of C has neither metadata, nor keywords in a file
// of several functions, nor descriptions.
#include "core/transforms/function_file.hpp"

#include <mlx/graph_utils.h>
#include <mlx/primitives.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <optional>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "core/array/array.hpp"
#include "core/evaluation/evaluation.hpp"
#include "core/guards/long_sums.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/error.hpp"
#include "core/handles/mlx_objects.hpp"
#include "core/memory/array_limit.hpp"
#include "core/recording/program.hpp"
#include "core/recording/run_purpose.hpp"
#include "core/streams/streams.hpp"

namespace mlx_nif {
namespace {

namespace mx = mlx::core;

// The arrays of a call as MLX wants them.
struct Arguments {
  mx::Args positional;
  mx::Kwargs by_keyword;

  Arguments(std::span<const mlx_array> inputs, const std::vector<std::string>& keywords)
      : positional(arrays_of(inputs.first(inputs.size() - keywords.size()))) {
    for (std::size_t index = 0; index < keywords.size(); ++index) {
      by_keyword.emplace(keywords[index], array_of(inputs[positional.size() + index]));
    }
  }
};

// Calls the program as MLX calls a function.
std::vector<mx::array> run(const ExampleCall& call, const mx::Args& positional, const mx::Kwargs& by_keyword) {
  std::vector<mlx_array> inputs = borrow(positional);
  for (const std::string& keyword : call.keywords) {
    inputs.push_back(borrow(by_keyword.at(keyword)));
  }
  inputs.insert(inputs.end(), call.captured.begin(), call.captured.end());
  return arrays_of(borrow(call.program->run(inputs)));
}

// What MLX tells, as a description.
template <typename T>
Description describe(const T& value);

template <typename... Parts>
Description describe_all(const Parts&... parts) {
  Description::List list;
  (list.push_back(describe(parts)), ...);
  return {std::move(list)};
}

template <typename T>
Description describe(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return {value};
  } else if constexpr (std::is_floating_point_v<T>) {
    return {static_cast<double>(value)};
  } else if constexpr (std::is_integral_v<T>) {
    return {static_cast<std::int64_t>(value)};
  } else if constexpr (std::is_same_v<T, std::string>) {
    return {value};
  } else if constexpr (std::is_same_v<T, mx::Dtype>) {
    return {type_of(value)};
  } else if constexpr (std::is_same_v<T, mx::array>) {
    return {handle_of(value)};
  } else if constexpr (requires { value.has_value(); }) {
    return value ? describe(*value) : Description{};
  } else if constexpr (requires { value.index(); }) {
    return std::visit([](const auto& held) { return describe(held); }, value);
  } else if constexpr (requires { value.begin(); }) {
    Description::List list;
    for (auto element = value.begin(); element != value.end(); ++element) {
      list.push_back(describe(static_cast<const typename T::value_type&>(*element)));
    }
    return {std::move(list)};
  } else {
    return std::apply([](const auto&... parts) { return describe_all(parts...); }, value);
  }
}

// The nodes that MLX computes the arrays by, down to the inputs.
template <typename Visit>
void for_each_node(const std::vector<mx::array>& outputs, const std::vector<mx::array>& inputs, const Visit& visit) {
  std::unordered_set<std::uintptr_t> seen;
  for (const mx::array& input : inputs) {
    seen.insert(input.id());
  }
  std::vector<mx::array> open(outputs.begin(), outputs.end());
  while (!open.empty()) {
    const mx::array node = std::move(open.back());
    open.pop_back();
    if (!seen.insert(node.id()).second) {
      continue;
    }
    visit(node);
    if (node.has_primitive()) {
      open.insert(open.end(), node.inputs().begin(), node.inputs().end());
    }
  }
}

}  // namespace

void export_functions(const std::string& path, std::span<const ExampleCall> calls, bool shapeless,
                      const std::string& metadata) {
  const Portable scope;
  const ExampleCall* current = nullptr;
  mx::FunctionExporter exporter = mx::exporter(
      path,
      [&current](const mx::Args& positional, const mx::Kwargs& by_keyword) {
        return run(*current, positional, by_keyword);
      },
      shapeless, metadata);
  for (const ExampleCall& call : calls) {
    current = &call;
    const Arguments arguments(call.inputs, call.keywords);
    exporter(arguments.positional, arguments.by_keyword);
  }
  exporter.close();
}

Description describe_function(const ExampleCall& call, bool shapeless) {
  Description inputs, keywords, outputs, constants;
  Description::List operations;
  const auto take = [&](const mx::ExportCallbackInput& part) {
    const auto of = [&part](const char* key) { return describe(part.at(key)); };
    const auto& kind = std::get<std::string>(part.at("type"));
    if (kind == "inputs") {
      inputs = of("inputs");
    } else if (kind == "keyword_inputs") {
      keywords = of("keywords");
    } else if (kind == "outputs") {
      outputs = of("outputs");
    } else if (kind == "constants") {
      constants = of("constants");
    } else if (kind == "primitive") {
      Description::List operation;
      for (const char* key : {"name", "inputs", "outputs", "arguments"}) {
        operation.push_back(of(key));
      }
      operations.push_back({std::move(operation)});
    }
  };
  const Portable scope;
  const Arguments arguments(call.inputs, call.keywords);
  mx::export_function(
      mx::ExportCallback(take),
      [&call](const mx::Args& positional, const mx::Kwargs& by_keyword) { return run(call, positional, by_keyword); },
      arguments.positional, arguments.by_keyword, shapeless);
  Description::List all;
  for (Description* part : {&inputs, &keywords, &outputs, &constants}) {
    all.push_back(std::move(*part));
  }
  all.push_back({std::move(operations)});
  return {std::move(all)};
}

namespace {

// A file begins with the version of MLX that wrote it. MLX would read any other file as far as it goes.
void check_header(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw Error("cannot open " + path);
  }
  std::array<unsigned char, 8> length{};
  file.read(reinterpret_cast<char*>(length.data()), length.size());
  constexpr std::size_t longest_version = 64;
  std::string version(std::min<std::size_t>(length[0], longest_version), '\0');
  file.read(version.data(), static_cast<std::streamsize>(version.size()));
  const bool is_short = std::ranges::all_of(length.begin() + 1, length.end(), [](auto byte) { return byte == 0; });
  const auto may_be_in_version = [](unsigned char character) {
    return std::isalnum(character) != 0 || character == '.' || character == '+' || character == '-';
  };
  if (!file || !is_short || version.empty() || !std::ranges::all_of(version, may_be_in_version)) {
    throw Error(path + " is not a file of exported functions");
  }
}

}  // namespace

struct ImportedFunction::Functions {
  mx::ImportedFunction functions;
};

ImportedFunction::ImportedFunction(const std::string& path)
    : functions_([&path] {
        check_header(path);
        return std::make_unique<Functions>(Functions{mx::import_function(path)});
      }()) {}

ImportedFunction::~ImportedFunction() = default;

const std::string& ImportedFunction::metadata() const {
  return functions_->functions.metadata();
}

void ImportedFunction::call(std::span<const mlx_array> inputs, const std::vector<std::string>& keywords,
                            std::vector<ArrayHandle>& results) {
  const Arguments arguments(inputs, keywords);
  // All results share the arrays of the file. Once these are read they are immutable as any value, and need no lock.
  const std::lock_guard lock(mutex_);
  const std::vector<mx::array> outputs = functions_->functions(arguments.positional, arguments.by_keyword);
  std::vector<ArrayHandle> unread;
  for_each_node(outputs, arrays_of(inputs), [&unread](const mx::array& node) {
    check_size(borrow(node));
    if (node.has_primitive() && std::string_view(node.primitive().name()) == "Load") {
      unread.push_back(handle_of(node));
    }
  });
  const auto graph = std::make_shared<Graph>();
  for (ArrayHandle& handle : unread) {
    Array array(std::move(handle), graph, Streams::instance().default_of(MLX_CPU), {.fallible = true});
    Array* const arrays[] = {&array};
    evaluate(arrays, Waiting::unlimited);
  }
  const std::size_t first = results.size();
  for (const mx::array& output : outputs) {
    results.push_back(handle_of(output));
  }
  add_in_pieces(borrow(std::span(results).subspan(first)), inputs);
}

namespace {

class ImportedCall final : public Instruction {
 public:
  ImportedCall(std::shared_ptr<ImportedFunction> function, std::size_t input_count, std::vector<std::string> keywords)
      : function_(std::move(function)), input_count_(input_count), keywords_(std::move(keywords)) {
    if (keywords_.size() > input_count_) {
      throw ArgumentError("expected no more keywords than arrays");
    }
  }

  // It reads a file, which is nothing for a normal scheduler.
  InstructionTraits traits() const override { return {.uses_cpu = true, .nodes = assumed_nodes}; }

  void run(std::span<const mlx_array> inputs, std::vector<ArrayHandle>& results) const override {
    if (inputs.size() != input_count_) {
      throw ArgumentError("expected as many arrays as the call was made for");
    }
    function_->call(inputs, keywords_, results);
  }

 private:
  static constexpr std::size_t assumed_nodes = 1000;

  const std::shared_ptr<ImportedFunction> function_;
  const std::size_t input_count_;
  const std::vector<std::string> keywords_;
};

}  // namespace

std::shared_ptr<const Instruction> imported_call(std::shared_ptr<ImportedFunction> function, std::size_t input_count,
                                                 std::vector<std::string> keywords) {
  return std::make_shared<const ImportedCall>(std::move(function), input_count, std::move(keywords));
}

std::string graph_in_dot(std::span<const mlx_array> arrays, const std::vector<std::string>& names) {
  const std::vector<mx::array> outputs = arrays_of(arrays);
  mx::NodeNamer namer;
  for (std::size_t index = 0; index < names.size(); ++index) {
    if (!names[index].empty()) {
      namer.set_name(outputs[index], names[index]);
    }
  }
  std::ostringstream text;
  mx::export_to_dot(text, std::move(namer), outputs);
  return std::move(text).str();
}

}  // namespace mlx_nif
