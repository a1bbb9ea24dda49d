// Devices, what is special to their kinds, and streams.
#include <string>

#include "core/evaluation/scheduling.hpp"
#include "core/evaluation/synchronization.hpp"
#include "core/streams/late_failure.hpp"
#include "nif/functions/function.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/tables/tables.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

ERL_NIF_TERM device_atom(mlx_device_type type) {
  return type == MLX_GPU ? atoms.gpu : atoms.cpu;
}

StreamResource& decode_stream(ErlNifEnv* env, ERL_NIF_TERM term) {
  StreamResource* stream = Resource<StreamResource>::find(env, term);
  if (stream == nullptr) {
    expected(env, "the reference of an Mlx.Stream", term);
  }
  return *stream;
}

DeviceHandle decode_device(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return DeviceHandle(mlx_device_new_type(decode<mlx_device_type>(env, argv[0]), decode<int>(env, argv[1])));
}

ERL_NIF_TERM device_count(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  int count = 0;
  check(mlx_device_count(&count, decode<mlx_device_type>(env, argv[0])));
  return enif_make_int(env, count);
}

bool is_available(const DeviceHandle& device) {
  bool available = false;
  int index = 0;
  check(mlx_device_get_index(&index, device.get()));
  check(mlx_device_is_available(&available, device.get()));
  return available && index >= 0;
}

ERL_NIF_TERM device_is_available(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return make_boolean(is_available(decode_device(env, argv)));
}

ERL_NIF_TERM device_info(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const DeviceHandle device = decode_device(env, argv);
  if (!is_available(device)) {
    throw Error("this machine has no such device that MLX can use");
  }
  DeviceInfoHandle info(mlx_device_info_new());
  check(mlx_device_info_get(info.out(), device.get()));
  StringVectorHandle names(mlx_vector_string_new());
  check(mlx_device_info_get_keys(names.out(), info.get()));
  std::vector<ERL_NIF_TERM> keys;
  std::vector<ERL_NIF_TERM> values;
  for (std::size_t index = 0; index < mlx_vector_string_size(names.get()); ++index) {
    char* name = nullptr;
    check(mlx_vector_string_get(&name, names.get(), index));
    bool is_string = false;
    check(mlx_device_info_is_string(&is_string, info.get(), name));
    keys.push_back(make_binary(env, name));
    if (is_string) {
      const char* value = nullptr;
      check(mlx_device_info_get_string(&value, info.get(), name));
      values.push_back(make_binary(env, value));
    } else {
      std::size_t value = 0;
      check(mlx_device_info_get_size(&value, info.get(), name));
      values.push_back(enif_make_uint64(env, value));
    }
  }
  return make_map(env, keys, values);
}

ERL_NIF_TERM default_device(ErlNifEnv*, const ERL_NIF_TERM[]) {
  return device_atom(Streams::instance().default_device());
}

ERL_NIF_TERM stream_new(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto type = decode<mlx_device_type>(env, argv[0]);
  StreamHandle stream;
  between_schedules([&] { stream = Streams::instance().borrow(type); });
  return Resource<StreamResource>::make(env, std::move(stream), type);
}

ERL_NIF_TERM stream_device(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  return device_atom(decode_stream(env, argv[0]).device());
}

ERL_NIF_TERM stream_index(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  int index = 0;
  check(mlx_stream_get_index(&index, decode_stream(env, argv[0]).get()));
  return enif_make_int(env, index);
}

ERL_NIF_TERM default_stream(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto type = decode<mlx_device_type>(env, argv[0]);
  return Resource<StreamResource>::make(env, Streams::instance().default_of(type), type);
}

ERL_NIF_TERM choose_stream(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  current_streams::choose(env, is_nil(argv[0]) ? nullptr : &decode_stream(env, argv[0]));
  return atoms.ok;
}

ERL_NIF_TERM synchronize_stream(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  synchronize(decode<mlx_stream>(env, argv[0]));
  return atoms.ok;
}

template <auto get>
ERL_NIF_TERM read_flag(ErlNifEnv*, const ERL_NIF_TERM[]) {
  bool flag = false;
  check(get(&flag));
  return make_boolean(flag);
}

ERL_NIF_TERM metal_start_capture(ErlNifEnv* env, const ERL_NIF_TERM argv[]) {
  const auto path = decode<std::string>(env, argv[0]);
  between_schedules([&] { check(mlx_metal_start_capture(path.c_str())); });
  return atoms.ok;
}

ERL_NIF_TERM metal_stop_capture(ErlNifEnv*, const ERL_NIF_TERM[]) {
  between_schedules([] { check(mlx_metal_stop_capture()); });
  return atoms.ok;
}

ERL_NIF_TERM sees_late_failures(ErlNifEnv*, const ERL_NIF_TERM[]) {
  return make_boolean(failure_marks_found());
}

ERL_NIF_TERM version(ErlNifEnv* env, const ERL_NIF_TERM[]) {
  StringHandle text(mlx_string_new());
  check(mlx_version(text.out()));
  return make_binary(env, mlx_string_data(text.get()));
}

}  // namespace

std::vector<ErlNifFunc> device_functions() {
  return {
      function<"device_count", 1, device_count>(),
      function<"device_is_available", 2, device_is_available>(),
      dirty_function<"device_info", 2, device_info>(),
      function<"default_device", 0, default_device>(),
      dirty_function<"stream_new", 1, stream_new>(),
      function<"stream_device", 1, stream_device>(),
      function<"stream_index", 1, stream_index>(),
      function<"default_stream", 1, default_stream>(),
      function<"choose_stream", 1, choose_stream>(),
      dirty_function<"synchronize", 1, synchronize_stream>(),
      function<"metal_is_available", 0, read_flag<mlx_metal_is_available>>(),
      dirty_function<"metal_start_capture", 1, metal_start_capture>(),
      dirty_function<"metal_stop_capture", 0, metal_stop_capture>(),
      function<"cuda_is_available", 0, read_flag<mlx_cuda_is_available>>(),
      function<"sees_late_failures", 0, sees_late_failures>(),
      function<"version", 0, version>(),
  };
}

}  // namespace mlx_nif
