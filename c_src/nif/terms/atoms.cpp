// Makes each atom once, when the library is loaded.
#include "nif/terms/atoms.hpp"

#include <algorithm>
#include <functional>

namespace mlx_nif {

void make_atoms(ErlNifEnv* env) {
  const auto atom = [env](const char* name) { return enif_make_atom(env, name); };
  atoms = Atoms{
      .ok = atom("ok"),
      .error = atom("error"),
      .call = atom("call"),
      .busy = atom("busy"),
      .execute = atom("execute"),
      .nil = atom("nil"),
      .true_ = atom("true"),
      .false_ = atom("false"),
      .nan = atom("nan"),
      .infinity = atom("infinity"),
      .neg_infinity = atom("neg_infinity"),
      .collect = atom("collect"),
      .collect_others = atom("collect_others"),
      .make_room = atom("make_room"),
      .memory_grew = atom("memory_grew"),
      .struct_ = atom("__struct__"),
      .exception = atom("__exception__"),
      .message = atom("message"),
      .ref = atom("ref"),
      .array_module = atom("Elixir.Mlx.Array"),
      .stream_module = atom("Elixir.Mlx.Stream"),
      .error_module = atom("Elixir.Mlx.Error"),
      .argument_error_module = atom("Elixir.ArgumentError"),
      .cpu = atom("cpu"),
      .gpu = atom("gpu"),
      .backward = atom("backward"),
      .ortho = atom("ortho"),
      .forward = atom("forward"),
      .background = atom("background"),
      .wait = atom("wait"),
      .never = atom("never"),
      .ids = atom("ids"),
      .types = {atom("bool"), atom("u8"), atom("u16"), atom("u32"), atom("u64"), atom("s8"), atom("s16"), atom("s32"),
                atom("s64"), atom("f16"), atom("f32"), atom("f64"), atom("bf16"), atom("c64")},
      .array_keys = {atom("__struct__"), atom("ref"), atom("shape"), atom("type")},
      .array_key_order = {0, 1, 2, 3},
  };
  const auto keys = atoms.array_keys;
  std::ranges::sort(atoms.array_key_order, std::less<>(), [&](std::size_t field) { return keys[field]; });
  std::ranges::transform(atoms.array_key_order, atoms.array_keys.begin(),
                         [&](std::size_t field) { return keys[field]; });
}

}  // namespace mlx_nif
