// Arrays from files.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nif/functions/function.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

// What a file holds is read when it is evaluated, and that may fail.
ERL_NIF_TERM make_lazy(ErlNifEnv* env, ArrayHandle array, mlx_stream stream) {
  auto graph = std::make_shared<Graph>();
  graph->add_nodes(1);
  graph->use_cpu();
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

ERL_NIF_TERM load_safetensors(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  const auto stream = decode<mlx_stream>(env, argv[1]);
  ArrayMapHandle arrays(mlx_map_string_to_array_new());
  StringMapHandle metadata(mlx_map_string_to_string_new());
  check(mlx_load_safetensors(arrays.out(), metadata.out(), path.c_str(), stream));
  return enif_make_tuple2(env, make_array_map(env, arrays.get(), stream), make_string_map(env, metadata.get()));
}

}  // namespace

std::vector<ErlNifFunc> io_functions() {
  return {
      dirty_function<"load", 2, load>(),
      dirty_function<"load_safetensors", 2, load_safetensors>(),
  };
}

}  // namespace mlx_nif
