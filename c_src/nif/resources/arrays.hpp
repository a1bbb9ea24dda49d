// Arrays, streams and groups as arguments and results.
#pragma once

#include <erl_nif.h>

#include <optional>
#include <vector>

#include "core/array/array.hpp"
#include "core/array/array_kind.hpp"
#include "core/array/graph_lock.hpp"
#include "core/handles/scalar.hpp"
#include "core/recording/tape.hpp"
#include "core/streams/streams.hpp"
#include "nif/resources/current_streams.hpp"
#include "nif/resources/resource.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {

// An array operand: an `%Mlx.Array{}`, a number, or nil where MLX allows none.
class Operand {
 public:
  static Operand decode(ErlNifEnv* env, ERL_NIF_TERM term);

  // Null for a number and for nil.
  Array* array() const { return pin_.get(); }
  bool is_number() const { return number_.has_value(); }

  // Makes an array of a number.
  void materialize(std::optional<mlx_dtype> peer);

  // The number that it is, once materialized.
  const ArrayHandle& constant() const { return constant_; }

  // Under the locks of the graphs, once materialized.
  mlx_array get() const { return pin_.get() != nullptr ? pin_.get()->get() : constant_.get(); }

 private:
  Pin pin_;
  std::optional<Scalar> number_;
  ArrayHandle constant_;
};

// A list of arrays.
class Operands {
 public:
  static Operands decode(ErlNifEnv* env, ERL_NIF_TERM term);

  std::vector<Operand>& all() { return operands_; }
  const std::vector<Operand>& all() const { return operands_; }

 private:
  std::vector<Operand> operands_;
};

// The array of an `%Mlx.Array{}`, or null when the term is something else.
Array* find_array(ErlNifEnv* env, ERL_NIF_TERM term);

// An `%Mlx.Array{}`, kept alive for the length of a call.
Pin decode_array(ErlNifEnv* env, ERL_NIF_TERM term);

// A list of them.
class PinnedArrays {
 public:
  PinnedArrays(ErlNifEnv* env, ERL_NIF_TERM list) {
    for_each_element(env, list, [&](ERL_NIF_TERM term) { pins_.push_back(decode_array(env, term)); });
    for (const Pin& pin : pins_) {
      arrays_.push_back(pin.get());
    }
  }
  std::span<Array* const> all() const { return arrays_; }

 private:
  std::vector<Pin> pins_;
  std::vector<Array*> arrays_;
};

// A stream that a process borrowed, or a default one.
class StreamResource {
 public:
  StreamResource(StreamHandle borrowed, mlx_device_type device)
      : borrowed_(std::move(borrowed)), stream_(borrowed_.get()), device_(device) {}
  StreamResource(mlx_stream stream, mlx_device_type device) : stream_(stream), device_(device) {}
  ~StreamResource() {
    if (borrowed_) {
      Streams::instance().give_back(std::move(borrowed_), device_);
    }
  }
  StreamResource(const StreamResource&) = delete;
  StreamResource& operator=(const StreamResource&) = delete;

  mlx_stream get() const { return stream_; }
  mlx_device_type device() const { return device_; }

  void process_ended(const ErlNifPid& pid) { current_streams::forget(pid); }

 private:
  StreamHandle borrowed_;
  mlx_stream stream_;
  mlx_device_type device_;
};

template <>
struct Decoder<mlx_stream> {
  // nil for the stream of the calling process, an `%Mlx.Stream{}`, or its reference.
  static mlx_stream decode(ErlNifEnv* env, ERL_NIF_TERM term);
};

// {shape, type}
template <>
struct Decoder<ArrayKind> {
  static ArrayKind decode(ErlNifEnv* env, ERL_NIF_TERM term) {
    const auto [shape, type] = elements<2>(env, term);
    return {mlx_nif::decode<std::vector<int>>(env, shape), mlx_nif::decode<mlx_dtype>(env, type)};
  }
};

// The structs of the results of one call. Those of arrays of the same shape and type share all but the reference.
class ArrayStructs {
 public:
  explicit ArrayStructs(ErlNifEnv* env) : env_(env) {}

  // `array` is that of the reference.
  ERL_NIF_TERM make(ERL_NIF_TERM reference, mlx_array array);

 private:
  ErlNifEnv* env_;
  ERL_NIF_TERM last_ = 0;
  mlx_array last_array_{};
};

// An `%Mlx.Array{}` of a node of the graph.
ERL_NIF_TERM make_array(ErlNifEnv* env, ArrayHandle handle, const std::shared_ptr<Graph>& graph, mlx_stream stream,
                        NodeTraits traits = {}, Trace trace = {}, ArrayStructs* structs = nullptr);

// The register of an operand on a tape.
Register record_operand(Tape& tape, const Operand& operand);

// A new reference to an array that is there already.
ERL_NIF_TERM make_shared_array(ErlNifEnv* env, Array& array);

// The same node as `original`, under its lock, in the place of an argument that is traced.
ERL_NIF_TERM make_placeholder(ErlNifEnv* env, ArrayHandle handle, const Array& original, Trace trace);

// An `%Mlx.Array{}` of a value, for the calling process.
ERL_NIF_TERM make_value(ErlNifEnv* env, ArrayHandle handle);

// For another process, to which it is sent.
ERL_NIF_TERM make_value_for(const ErlNifPid& process, ErlNifEnv* env, ArrayHandle handle);

}  // namespace mlx_nif
