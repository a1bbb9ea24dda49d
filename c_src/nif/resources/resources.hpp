// The kinds of objects that Elixir holds by reference.
#pragma once

#include <erl_nif.h>

#include "core/array/array.hpp"
#include "core/distributed/group.hpp"
#include "core/kernels/kernel.hpp"
#include "core/recording/program.hpp"
#include "core/recording/tape.hpp"
#include "core/transforms/compilation.hpp"
#include "core/transforms/function_file.hpp"
#include "core/transforms/vmap_rules.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/resources/compiled_calls.hpp"
#include "nif/resources/execution.hpp"
#include "nif/resources/resource.hpp"
#include "nif/terms/term.hpp"
#include "nif/terms/term_table.hpp"

namespace mlx_nif {

// Bytes that belong to MLX, for as long as a binary refers to them. The handle also keeps MLX from reusing the buffer.
struct SharedBytes {
  ArrayHandle owner;
};

struct GroupResource {
  SharedGroup group;
};

struct ProgramResource {
  std::shared_ptr<const Program> program;
};

struct InstructionResource {
  // The public name of the function that it is made for.
  std::string name;
  std::shared_ptr<const Instruction> instruction;
};

struct CompiledResource {
  std::shared_ptr<CompiledFunction> function;
};

struct VmapRulesResource {
  std::shared_ptr<VmapRules> rules;
};

struct ImportedResource {
  std::shared_ptr<ImportedFunction> function;
};

// A tape that nobody can finish any more is abandoned.
struct TapeResource {
  std::shared_ptr<Tape> tape;
  explicit TapeResource(std::shared_ptr<Tape> recording) : tape(std::move(recording)) {}
  ~TapeResource() { tape->abandon(); }
  TapeResource(const TapeResource&) = delete;
  TapeResource& operator=(const TapeResource&) = delete;
};

// What a native function takes of a resource.
template <typename T>
T& decode_resource(ErlNifEnv* env, ERL_NIF_TERM term, const char* what) {
  T* object = Resource<T>::find(env, term);
  if (object == nullptr) {
    expected(env, what, term);
  }
  return *object;
}

template <>
struct Decoder<std::shared_ptr<const Program>> {
  static std::shared_ptr<const Program> decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    return decode_resource<ProgramResource>(env, term, "a recorded function").program;
  }
};

inline bool open_resources(ErlNifEnv* env) {
  return Resource<Array>::open(env, "array") && Resource<SharedBytes>::open(env, "bytes") &&
         Resource<StreamResource>::open(env, "stream") && Resource<GroupResource>::open(env, "group") &&
         Resource<Kernel>::open(env, "kernel") && Resource<TapeResource>::open(env, "tape") &&
         Resource<ProgramResource>::open(env, "program") && Resource<InstructionResource>::open(env, "instruction") &&
         Resource<CompiledResource>::open(env, "compiled_function") &&
         Resource<CompiledCalls>::open(env, "compiled_calls") && Resource<TermTable>::open(env, "table") &&
         Resource<VmapRulesResource>::open(env, "vmap_rules") &&
         Resource<ImportedResource>::open(env, "imported_function") &&
         Resource<ExecutionResource>::open(env, "execution");
}

}  // namespace mlx_nif
