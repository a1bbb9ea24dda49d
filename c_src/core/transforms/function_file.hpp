// Functions in files of MLX's format, and what MLX tells of functions and graphs.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/recording/program.hpp"

namespace mlx_nif {

// A recorded function with the arrays that it was recorded for.
struct ExampleCall {
  std::shared_ptr<const Program> program;
  // Of these only the shape and type count. The last ones are given by keyword.
  std::vector<mlx_array> inputs;
  std::vector<std::string> keywords;
  // Row-major values.
  std::vector<mlx_array> captured;
};

// Writes a file that knows one function for each of the calls. `shapeless`: for arrays of any shape with as many axes.
void export_functions(const std::string& path, std::span<const ExampleCall> calls, bool shapeless,
                      const std::string& metadata);

// What MLX tells of a function. A shape is a list of integers.
struct Description {
  using List = std::vector<Description>;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, mlx_dtype, List, ArrayHandle> value;
};

// The inputs, their keywords, the outputs, the constants, and the operations.
Description describe_function(const ExampleCall& call, bool shapeless);

// Functions that were read from a file. Its arrays are read when a function is called for the first time.
class ImportedFunction {
 public:
  explicit ImportedFunction(const std::string& path);
  ~ImportedFunction();
  ImportedFunction(const ImportedFunction&) = delete;
  ImportedFunction& operator=(const ImportedFunction&) = delete;

  const std::string& metadata() const;

  // Appends the results of the function that the file has for such inputs, the last of which are given by keyword.
  void call(std::span<const mlx_array> inputs, const std::vector<std::string>& keywords,
            std::vector<ArrayHandle>& results);

 private:
  struct Functions;

  const std::unique_ptr<Functions> functions_;
  std::mutex mutex_;
};

// A call of it as an instruction.
std::shared_ptr<const Instruction> imported_call(std::shared_ptr<ImportedFunction> function, std::size_t input_count,
                                                 std::vector<std::string> keywords);

// The graph that the arrays are computed by, in the language of Graphviz. Some of the arrays have names.
std::string graph_in_dot(std::span<const mlx_array> arrays, const std::vector<std::string>& names);

}  // namespace mlx_nif
