// Decodes operands, and makes the structs that Elixir has of arrays.
#include "nif/resources/arrays.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <variant>

#include "core/handles/array_lists.hpp"
#include "core/memory/array_limit.hpp"
#include "core/memory/holdings.hpp"
#include "nif/calls/call.hpp"

namespace mlx_nif {
namespace {

// Decoding longer lists goes to a dirty scheduler.
constexpr unsigned longest_list_inline = 1000;

using ArrayFields = std::array<ERL_NIF_TERM, 4>;

ERL_NIF_TERM make_struct(ErlNifEnv* env, ERL_NIF_TERM reference, mlx_array array) {
  const int* dimensions = mlx_array_shape(array);
  const std::size_t rank = mlx_array_ndim(array);
  std::array<ERL_NIF_TERM, 16> few;
  std::vector<ERL_NIF_TERM> many(rank > few.size() ? rank : 0);
  ERL_NIF_TERM* shape = many.empty() ? few.data() : many.data();
  for (std::size_t axis = 0; axis < rank; ++axis) {
    shape[axis] = enif_make_int(env, dimensions[axis]);
  }
  const ArrayFields fields{atoms.array_module, reference,
                           enif_make_tuple_from_array(env, shape, static_cast<unsigned>(rank)),
                           type_atom(mlx_array_dtype(array))};
  ArrayFields values;
  for (std::size_t field = 0; field < fields.size(); ++field) {
    values[field] = fields[atoms.array_key_order[field]];
  }
  ERL_NIF_TERM map;
  enif_make_map_from_arrays(env, atoms.array_keys.data(), values.data(), values.size(), &map);
  return map;
}

// Weighs an array without elements, too: each has a buffer, of which Metal has room for half a million.
constexpr std::int64_t bytes_of_handle = 256;

// The share of an array in what the process holds that it is made for.
Holding hold(const ErlNifPid& process, mlx_array array, bool has_memory = true) {
  const std::uint64_t bytes = has_memory ? size_in_bytes(array) : 0;
  const bool view = bytes > array_limit();
  return {Holdings::of(process.pid), bytes_of_handle + (view ? 0 : static_cast<std::int64_t>(bytes))};
}

std::uint64_t bits_of(const Scalar& number) {
  return std::visit(
      [](const auto& value) {
        std::uint64_t bits = 0;
        static_assert(sizeof(value) <= sizeof(bits));
        std::memcpy(&bits, &value, sizeof(value));
        return bits;
      },
      number);
}

// The arrays of the numbers that a thread used last. To make one takes a quarter of the time of an operation.
class RecentNumbers {
 public:
  ArrayHandle make(const Scalar& number, std::optional<mlx_dtype> peer) {
    const Key key{number.index(), bits_of(number), peer};
    const auto recent = std::ranges::find(numbers_, key, &Number::key);
    if (recent != numbers_.end() && recent->array) {
      return share(recent->array.get());
    }
    Number& oldest = numbers_[next_++ % numbers_.size()];
    oldest = {key, make_weak_scalar(number, peer)};
    return share(oldest.array.get());
  }

 private:
  struct Key {
    std::size_t kind = 0;
    std::uint64_t bits = 0;
    std::optional<mlx_dtype> peer;
    bool operator==(const Key&) const = default;
  };
  struct Number {
    Key key;
    ArrayHandle array;
  };

  std::array<Number, 4> numbers_;
  std::size_t next_ = 0;
};

// Where there is a GPU, the memory of an array may move while it is used.
ArrayHandle make_number(const Scalar& number, std::optional<mlx_dtype> peer) {
  if (Streams::instance().has(MLX_GPU)) {
    return make_weak_scalar(number, peer);
  }
  thread_local RecentNumbers recent;
  return recent.make(number, peer);
}

}  // namespace

Array* find_array(ErlNifEnv* env, ERL_NIF_TERM term) {
  ERL_NIF_TERM reference;
  if (enif_get_map_value(env, term, atoms.ref, &reference) == 0) {
    return nullptr;
  }
  return Resource<Array>::find(env, reference);
}

Operand Operand::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  Operand operand;
  if (Array* array = find_array(env, term)) {
    operand.pin_ = Pin(*array);
  } else if (!is_nil(term)) {
    operand.number_ = find_scalar(env, term);
    if (!operand.number_) {
      expected_array(env, "an Mlx.Array or a number", term);
    }
  }
  return operand;
}

void Operand::materialize(std::optional<mlx_dtype> peer) {
  if (number_) {
    constant_ = make_number(*number_, peer);
  }
}

Operands Operands::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  unsigned length = 0;
  if (on_normal_scheduler() && enif_get_list_length(env, term, &length) != 0 && length > longest_list_inline) {
    throw NeedsDirtyScheduler();
  }
  Operands operands;
  for_each_element(env, term, [&](ERL_NIF_TERM element) {
    Operand& operand = operands.operands_.emplace_back(Operand::decode(env, element));
    if (operand.array() == nullptr && !operand.is_number()) {
      expected_array(env, "an Mlx.Array or a number", element);
    }
    operand.materialize(std::nullopt);
  });
  return operands;
}

Pin decode_array(ErlNifEnv* env, ERL_NIF_TERM term) {
  Array* array = find_array(env, term);
  if (array == nullptr) {
    expected_array(env, "an Mlx.Array", term);
  }
  return Pin(*array);
}

mlx_stream Decoder<mlx_stream>::decode(ErlNifEnv* env, ERL_NIF_TERM term) {
  if (is_nil(term)) {
    return current_streams::of_caller(env);
  }
  ERL_NIF_TERM reference = term;
  enif_get_map_value(env, term, atoms.ref, &reference);
  const StreamResource* stream = Resource<StreamResource>::find(env, reference);
  if (stream == nullptr) {
    expected(env, "an Mlx.Stream", term);
  }
  return stream->get();
}

ERL_NIF_TERM ArrayStructs::make(ERL_NIF_TERM reference, mlx_array array) {
  const bool alike = last_ != 0 && mlx_array_dtype(array) == mlx_array_dtype(last_array_) &&
                     std::ranges::equal(shape_of(array), shape_of(last_array_));
  if (!alike || enif_make_map_update(env_, last_, atoms.ref, reference, &last_) == 0) {
    last_ = make_struct(env_, reference, array);
  }
  last_array_ = array;
  return last_;
}

ERL_NIF_TERM make_array(ErlNifEnv* env, ArrayHandle handle, const std::shared_ptr<Graph>& graph, mlx_stream stream,
                        NodeTraits traits, Trace trace, ArrayStructs* structs) {
  const mlx_array array = handle.get();
  Holding holding = hold(calling_process(env), array, !traits.valueless);
  const ERL_NIF_TERM reference =
      Resource<Array>::make(env, std::move(handle), graph, stream, traits, std::move(trace), std::move(holding));
  return structs == nullptr ? make_struct(env, reference, array) : structs->make(reference, array);
}

Register record_operand(Tape& tape, const Operand& operand) {
  if (operand.array() != nullptr) {
    return tape.register_of(*operand.array(), Resource<Array>::share);
  }
  if (!operand.constant()) {
    return no_register;
  }
  return tape.add_constant(share(operand.constant().get()));
}

ERL_NIF_TERM make_shared_array(ErlNifEnv* env, Array& array) {
  const Pin pin(array);
  return make_struct(env, enif_make_resource(env, &array), array.get());
}

ERL_NIF_TERM make_placeholder(ErlNifEnv* env, ArrayHandle handle, const Array& original, Trace trace) {
  const mlx_array array = handle.get();
  const ERL_NIF_TERM reference = Resource<Array>::make(env, std::move(handle), original, std::move(trace));
  return make_struct(env, reference, array);
}

ERL_NIF_TERM make_value(ErlNifEnv* env, ArrayHandle handle) {
  return make_value_for(calling_process(env), env, std::move(handle));
}

ERL_NIF_TERM make_value_for(const ErlNifPid& process, ErlNifEnv* env, ArrayHandle handle) {
  const mlx_array array = handle.get();
  const ERL_NIF_TERM reference = Resource<Array>::make(env, std::move(handle), hold(process, array));
  return make_struct(env, reference, array);
}

}  // namespace mlx_nif
