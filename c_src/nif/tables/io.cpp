// Arrays in files.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/evaluation.hpp"
#include "nif/arrays.hpp"
#include "nif/function.hpp"
#include "nif/tables.hpp"
#include "nif/term.hpp"

namespace mlx_nif {
namespace {

// A map of Elixir, in the order of its iteration.
template <typename Visit>
void for_each_pair(ErlNifEnv* env, ERL_NIF_TERM map, const Visit& visit) {
  ErlNifMapIterator iterator;
  if (enif_map_iterator_create(env, map, &iterator, ERL_NIF_MAP_ITERATOR_FIRST) == 0) {
    expected(env, "a map", map);
  }
  const std::unique_ptr<ErlNifMapIterator, std::function<void(ErlNifMapIterator*)>> guard(
      &iterator, [env](ErlNifMapIterator* created) { enif_map_iterator_destroy(env, created); });
  ERL_NIF_TERM key;
  ERL_NIF_TERM value;
  while (enif_map_iterator_get_pair(env, &iterator, &key, &value) != 0) {
    visit(decode<std::string>(env, key), value);
    enif_map_iterator_next(env, &iterator);
  }
}

// Arrays that a file is made of: evaluated, and row-major, so that writing them only reads them.
class Named {
 public:
  Named(ErlNifEnv* env, ERL_NIF_TERM map) {
    for_each_pair(env, map, [&](std::string name, ERL_NIF_TERM value) { add(std::move(name), env, value); });
  }

  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (const auto& [name, array] : arrays_) {
      visit(name.c_str(), array.get());
    }
  }

 private:
  void add(std::string name, ErlNifEnv* env, ERL_NIF_TERM value) {
    Array* array = find_array(env, value);
    if (array == nullptr) {
      expected(env, "an Mlx.Array", value);
    }
    const Pin pin(*array);
    arrays_.emplace_back(std::move(name), row_major_value(*array, Patience::unlimited));
  }

  std::vector<std::pair<std::string, ArrayHandle>> arrays_;
};

// What a file holds is read when it is evaluated, and that may fail.
ERL_NIF_TERM make_lazy(ErlNifEnv* env, ArrayHandle array, mlx_stream stream) {
  auto graph = std::make_shared<Graph>();
  graph->add_nodes(1);
  return make_array(env, std::move(array), graph, stream, {.fallible = true});
}

ERL_NIF_TERM make_array_map(ErlNifEnv* env, mlx_map_string_to_array map, mlx_stream stream) {
  std::vector<ERL_NIF_TERM> keys;
  std::vector<ERL_NIF_TERM> values;
  const auto free = [](mlx_map_string_to_array_iterator* it) { mlx_map_string_to_array_iterator_free(*it); };
  auto iterator = mlx_map_string_to_array_iterator_new(map);
  const std::unique_ptr<mlx_map_string_to_array_iterator, decltype(free)> guard(&iterator, free);
  const char* key = nullptr;
  ArrayHandle value;
  while (mlx_map_string_to_array_iterator_next(&key, value.out(), iterator) == 0) {
    keys.push_back(make_binary(env, key));
    values.push_back(make_lazy(env, std::move(value), stream));
  }
  return make_map(env, keys, values);
}

ERL_NIF_TERM make_string_map(ErlNifEnv* env, mlx_map_string_to_string map) {
  std::vector<ERL_NIF_TERM> keys;
  std::vector<ERL_NIF_TERM> values;
  const auto free = [](mlx_map_string_to_string_iterator* it) { mlx_map_string_to_string_iterator_free(*it); };
  auto iterator = mlx_map_string_to_string_iterator_new(map);
  const std::unique_ptr<mlx_map_string_to_string_iterator, decltype(free)> guard(&iterator, free);
  const char* key = nullptr;
  const char* value = nullptr;
  while (mlx_map_string_to_string_iterator_next(&key, &value, iterator) == 0) {
    keys.push_back(make_binary(env, key));
    values.push_back(make_binary(env, value));
  }
  return make_map(env, keys, values);
}

ERL_NIF_TERM load(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  const auto stream = decode<mlx_stream>(env, argv[1]);
  ArrayHandle array;
  check(mlx_load(array.out(), path.c_str(), stream));
  return make_lazy(env, std::move(array), stream);
}

ERL_NIF_TERM save(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  Array* array = find_array(env, argv[1]);
  if (array == nullptr) {
    expected(env, "an Mlx.Array", argv[1]);
  }
  const Pin pin(*array);
  const ArrayHandle value = row_major_value(*array, Patience::unlimited);
  check(mlx_save(path.c_str(), value.get()));
  return atoms.ok;
}

ERL_NIF_TERM load_safetensors(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  const auto stream = decode<mlx_stream>(env, argv[1]);
  ArrayMapHandle arrays(mlx_map_string_to_array_new());
  StringMapHandle metadata(mlx_map_string_to_string_new());
  check(mlx_load_safetensors(arrays.out(), metadata.out(), path.c_str(), stream));
  return enif_make_tuple2(env, make_array_map(env, arrays.get(), stream), make_string_map(env, metadata.get()));
}

ERL_NIF_TERM save_safetensors(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  const Named named(env, argv[1]);
  const ArrayMapHandle arrays(mlx_map_string_to_array_new());
  named.for_each(
      [&](const char* name, mlx_array array) { check(mlx_map_string_to_array_insert(arrays.get(), name, array)); });
  const StringMapHandle metadata(mlx_map_string_to_string_new());
  for_each_pair(env, argv[2], [&](const std::string& key, ERL_NIF_TERM value) {
    check(mlx_map_string_to_string_insert(metadata.get(), key.c_str(), decode<std::string>(env, value).c_str()));
  });
  check(mlx_save_safetensors(path.c_str(), arrays.get(), metadata.get()));
  return atoms.ok;
}

ERL_NIF_TERM load_gguf(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  const auto stream = decode<mlx_stream>(env, argv[1]);
  GgufHandle file(mlx_io_gguf_new());
  check(mlx_load_gguf(file.out(), path.c_str(), stream));
  StringVectorHandle names(mlx_vector_string_new());
  check(mlx_io_gguf_get_keys(names.out(), file.get()));
  std::vector<ERL_NIF_TERM> keys;
  std::vector<ERL_NIF_TERM> values;
  for (std::size_t index = 0; index < mlx_vector_string_size(names.get()); ++index) {
    char* name = nullptr;
    check(mlx_vector_string_get(&name, names.get(), index));
    ArrayHandle array;
    check(mlx_io_gguf_get_array(array.out(), file.get(), name));
    keys.push_back(make_binary(env, name));
    values.push_back(make_lazy(env, std::move(array), stream));
  }
  return make_map(env, keys, values);
}

void add_gguf_metadata(ErlNifEnv* env, mlx_io_gguf file, const std::string& key, ERL_NIF_TERM value) {
  if (Array* array = find_array(env, value)) {
    const Pin pin(*array);
    const ArrayHandle evaluated = row_major_value(*array, Patience::unlimited);
    check(mlx_io_gguf_set_metadata_array(file, key.c_str(), evaluated.get()));
  } else if (enif_is_list(env, value) != 0) {
    const StringVectorHandle strings(mlx_vector_string_new());
    for (const auto& text : decode<std::vector<std::string>>(env, value)) {
      check(mlx_vector_string_append_value(strings.get(), text.c_str()));
    }
    check(mlx_io_gguf_set_metadata_vector_string(file, key.c_str(), strings.get()));
  } else {
    check(mlx_io_gguf_set_metadata_string(file, key.c_str(), decode<std::string>(env, value).c_str()));
  }
}

ERL_NIF_TERM save_gguf(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  const Named named(env, argv[1]);
  const GgufHandle file(mlx_io_gguf_new());
  named.for_each([&](const char* name, mlx_array array) { check(mlx_io_gguf_set_array(file.get(), name, array)); });
  for_each_pair(env, argv[2],
                [&](const std::string& key, ERL_NIF_TERM value) { add_gguf_metadata(env, file.get(), key, value); });
  check(mlx_save_gguf(path.c_str(), file.get()));
  return atoms.ok;
}

}  // namespace

std::vector<ErlNifFunc> io_functions() {
  return {
      dirty_function<"load", 2, load>(),
      dirty_function<"save", 2, save>(),
      dirty_function<"load_safetensors", 2, load_safetensors>(),
      dirty_function<"save_safetensors", 3, save_safetensors>(),
      dirty_function<"load_gguf", 2, load_gguf>(),
      dirty_function<"save_gguf", 3, save_gguf>(),
  };
}

}  // namespace mlx_nif
