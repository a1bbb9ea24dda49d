// Arrays, streams and groups as arguments and results.
#pragma once

#include <erl_nif.h>

#include <optional>
#include <vector>

#include "core/array.hpp"
#include "core/graph_lock.hpp"
#include "core/scalar.hpp"
#include "core/streams.hpp"
#include "nif/current_streams.hpp"
#include "nif/resource.hpp"
#include "nif/term.hpp"

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

  const std::vector<Operand>& all() const { return operands_; }
  ArrayVectorHandle vector() const;

 private:
  std::vector<Operand> operands_;
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

// An `%Mlx.Array{}` of a node of the graph.
ERL_NIF_TERM make_array(ErlNifEnv* env, ArrayHandle handle, const std::shared_ptr<Graph>& graph, mlx_stream stream,
                        NodeTraits traits = {});

// An `%Mlx.Array{}` of a value.
ERL_NIF_TERM make_value(ErlNifEnv* env, ArrayHandle handle);

}  // namespace mlx_nif
