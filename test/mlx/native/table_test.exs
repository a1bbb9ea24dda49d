defmodule Mlx.Native.TableTest do
  use ExUnit.Case, async: true

  # The headers of mlx-c whose functions are native functions of the same name.
  @headers ~w(ops random linalg fft fast memory io distributed distributed_group)

  # Those that are not, and why.
  @absent %{
    "distributed_group_free" => "the garbage collector frees it",
    "random_seed" => "sets a state of the calling thread; `Mlx.Random` keeps one for each process",
    "load_gguf" => "`Mlx.IO` reads GGUF files",
    "load_reader" => "files are named by their path",
    "load_safetensors_reader" => "files are named by their path",
    "save" => "`Mlx.IO` writes files",
    "save_gguf" => "`Mlx.IO` writes files",
    "save_safetensors" => "`Mlx.IO` writes files",
    "save_safetensors_writer" => "`Mlx.IO` writes files",
    "save_writer" => "`Mlx.IO` writes files"
  }

  # Objects of mlx-c that `metal_kernel`, `cuda_kernel` and `kernel_apply` make on their way.
  defp absent?(name), do: is_map_key(@absent, name) or name =~ ~r/_(metal|cuda)_kernel_/

  for header <- @headers do
    test "every function of mlx-c's #{header}.h is native, or there is a reason" do
      native = for {name, _arity} <- Mlx.Native.functions(), into: MapSet.new(), do: to_string(name)
      names = functions(unquote(header))

      assert names != []

      missing = for name <- names, name not in native, not absent?(name), do: name

      assert missing == [], """
      functions of mlx-c that are not native: #{inspect(missing)}. For each add operation<"NAME", &mlx_NAME>() to a file \
      of c_src/nif/tables and NAME: (the number of arguments) to @functions of lib/mlx/native/native.ex, or the reason to \
      @absent of this file
      """

      assert [] == for(name <- names, name in native, absent?(name), do: name)
    end
  end

  test "every stub is a native function" do
    stubs = Mlx.Native.functions() -- Mlx.Native.module_info(:nifs)

    assert stubs == [], """
    #{inspect(stubs)} in @functions of lib/mlx/native/native.ex, and not native: for each add a row, such as \
    operation<"NAME", &mlx_NAME>(), to a file of c_src/nif/tables
    """
  end

  test "errors are raised for functions that there are" do
    source = File.read!(Path.expand("../../../c_src/nif/calls/public_names.hpp", __DIR__))

    for [_, name] <- Regex.scan(~r/"(Mlx\.[\w.]+\??)"\}/, source) do
      {function, module} = name |> String.split(".") |> List.pop_at(-1)
      module = Module.concat(module)
      assert Code.ensure_loaded?(module), "#{name}: no such module"
      assert Keyword.has_key?(module.__info__(:functions), String.to_atom(function)), "#{name} does not exist"
    end
  end

  defp functions(header) do
    source = File.read!(Path.join([Mlx.NativeBuild.fetch!("MLX_C_DIR"), "include/mlx/c", header <> ".h"]))
    for [_, name] <- Regex.scan(~r/^int mlx_(\w+)\(/m, source), do: name
  end
end
