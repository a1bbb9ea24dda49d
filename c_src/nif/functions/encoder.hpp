// The results of operations as terms.
#pragma once

#include <erl_nif.h>

#include <memory>
#include <vector>

#include "core/array/graph.hpp"
#include "core/handles/array_lists.hpp"
#include "core/handles/empty_arrays.hpp"
#include "core/memory/array_limit.hpp"
#include "core/recording/tape.hpp"
#include "core/streams/streams.hpp"
#include "nif/resources/arrays.hpp"

namespace mlx_nif {

// Many of MLX's computations divide by a size that is 0 in such an array.
inline void repair(ArrayHandle& result) {
  if (has_no_elements(result.get())) {
    result = without_elements(result.get());
  }
}

// Makes the terms of an operation's results.
class Encoder {
 public:
  // `view`: an oversized result costs nothing.
  Encoder(ErlNifEnv* env, const std::shared_ptr<Graph>& graph, mlx_stream stream, NodeTraits traits, bool view)
      : env_(env), graph_(graph), stream_(stream), traits_(traits), view_(view) {}

  ERL_NIF_TERM encode(ArrayHandle& array, ArrayStructs* structs = nullptr) {
    const std::uint64_t bytes = size_in_bytes(array.get());
    if (bytes == 0) {
      repair(array);
    }
    NodeTraits traits = traits_;
    traits.oversized = bytes > array_limit();
    if (traits.oversized && !view_) {
      check_size(array.get());
    }
    graph_->add_nodes(1);
    if (device_of(stream_) == MLX_CPU) {
      graph_->use_cpu();
    }
    return make_array(env_, std::move(array), graph_, stream_, traits, next_trace(), structs);
  }

  ERL_NIF_TERM encode(ArrayVectorHandle& arrays) {
    std::vector<ArrayHandle> handles = elements_of(arrays.get());
    return encode(handles);
  }

  ERL_NIF_TERM encode(std::vector<ArrayHandle>& arrays) {
    const std::vector<ERL_NIF_TERM> terms = encode_all(arrays);
    return enif_make_list_from_array(env_, terms.data(), static_cast<unsigned>(terms.size()));
  }

  std::vector<ERL_NIF_TERM> encode_all(std::vector<ArrayHandle>& arrays) {
    std::vector<ERL_NIF_TERM> terms;
    terms.reserve(arrays.size());
    ArrayStructs structs(env_);
    for (ArrayHandle& array : arrays) {
      terms.push_back(encode(array, &structs));
    }
    return terms;
  }

  // The results are on a tape from here on.
  void trace(Tape& tape, Register first_result) {
    tape_ = tape.shared_from_this();
    next_result_ = first_result;
  }

 private:
  Trace next_trace() { return tape_ ? Trace{tape_, next_result_++} : Trace{}; }

  ErlNifEnv* env_;
  const std::shared_ptr<Graph>& graph_;
  mlx_stream stream_;
  NodeTraits traits_;
  bool view_;
  std::shared_ptr<Tape> tape_;
  Register next_result_ = no_register;
};

}  // namespace mlx_nif
