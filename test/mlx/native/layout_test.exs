defmodule Mlx.Native.LayoutTest do
  use ExUnit.Case, async: true

  @sources Path.expand("../../../c_src", __DIR__)

  # The folders, lowest first. A file includes files of its own folder and of lower ones.
  @floors [
    {"core/handles", "the objects of mlx-c as C++ owns them, their errors, and MLX's objects behind them"},
    {"core/memory", "what arrays take, what processes hold, and the limits"},
    {"core/streams", "what MLX computes on, and how that fails"},
    {"core/threads", "threads of our own, and how long others may be kept"},
    {"core/array", "arrays as Elixir holds them, and the locks of their graphs"},
    {"core/recording", "functions as programs, and how these are recorded and run"},
    {"core/kernels",
     "kernels that are written by users, made for fused operations, or for what MLX leaves slow: some products, exponentials"},
    {"core/operations", "operations that mlx-c lacks"},
    {"core/guards", "operations of mlx-c that are wrong or unsafe by themselves, by what is wrong with them"},
    {"core/evaluation", "from nodes of graphs to values"},
    {"core/transforms", "what is made of programs: derivatives, maps, compiled functions, loops, files"},
    {"core/distributed", "groups of processes, and messages between them"},
    {"core/grammars", "tables of vocabularies and grammars, and which tokens fit; no arrays"},
    {"nif/terms", "terms of Elixir, without arrays"},
    {"nif/calls", "a call from Elixir, from its beginning to its end"},
    {"nif/resources", "what Elixir refers to: arrays, streams, functions, and what is done when it does no longer"},
    {"nif/functions", "native functions, derived from operations or written by hand"},
    {"nif/tables", "the native functions, one table a topic"},
    {"nif", "the library as the VM loads it"},
    {"sanitizers", "the core under stress, without the VM"}
  ]
  @folders Enum.map(@floors, &elem(&1, 0))

  # {file, what stands between the quotes or brackets, whether it is one of ours}
  defp includes do
    for file <- files(), [_, opening, path] <- Regex.scan(~r/^\s*#include\s+(["<])([^">]+)[">]/m, read(file)) do
      {file, path, opening == "\""}
    end
  end

  defp own_includes, do: for({file, path, true} <- includes(), do: {file, path})

  defp files, do: Path.wildcard(Path.join(@sources, "**/*.{cpp,hpp}")) |> Enum.map(&Path.relative_to(&1, @sources))
  defp read(file), do: File.read!(Path.join(@sources, file))
  defp floor_of(file), do: Enum.find_index(@folders, &(&1 == Path.dirname(file)))
  defp in_folder?(file, folder), do: String.starts_with?(file, folder <> "/")

  defp text({file, path}), do: "#{file} includes #{path}"

  test "every source file lies in one of the folders, and each folder has some" do
    assert [] == Enum.reject(files(), &floor_of/1)
    assert [] == @folders -- Enum.map(files(), &Path.dirname/1)
  end

  test "what is included is there" do
    assert [_ | _] = own_includes()
    assert [] == for({_, path} = include <- own_includes(), path not in files(), do: text(include))
  end

  test "folders depend on lower ones only" do
    upwards = for {file, path} = include <- own_includes(), floor_of(path) > floor_of(file), do: text(include)

    assert upwards == [],
           "expected files to include their own folder and lower ones, which are, lowest first:\n" <>
             Enum.map_join(@floors, "\n", fn {folder, purpose} -> "  #{folder}: #{purpose}" end) <>
             "\nbut:\n" <> Enum.map_join(upwards, "\n", &"  #{&1}")
  end

  test "only the core knows MLX's own headers, and only nif the VM's" do
    of_mlx = for {file, "mlx/" <> rest = path, false} <- includes(), in_folder?(file, "nif"), do: {file, path, rest}
    assert [] == for({file, path, rest} <- of_mlx, not in_folder?(rest, "c"), do: text({file, path}))

    of_the_vm = for {file, "erl_" <> _ = path, false} <- includes(), do: {file, path}
    assert [_ | _] = of_the_vm
    assert [] == for({file, _} = include <- of_the_vm, not in_folder?(file, "nif"), do: text(include))
    assert [] == for({file, "nif/" <> _} = include <- own_includes(), not in_folder?(file, "nif"), do: text(include))
  end

  test "every source file begins by saying what it is" do
    assert [] == Enum.reject(files(), &(read(&1) =~ ~r/\A\/\/ [A-Z]/))
  end
end
