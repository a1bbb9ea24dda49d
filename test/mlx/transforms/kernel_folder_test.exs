defmodule Mlx.Transforms.KernelFolderTest do
  use ExUnit.Case, async: true

  alias Mlx.Transforms.KernelFolder

  @moduletag :tmp_dir

  # Files of the versions of MLX, used one after another.
  setup %{tmp_dir: folder} do
    for {name, index} <- Enum.with_index(~w(1.0/cpu/a 2.0/cpu/b 1.0/cpu/c 2.0/cpu/d)) do
      path = Path.join([folder, "mlx", name])
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, String.duplicate("x", 100))
      File.write_stat!(path, %{File.stat!(path, time: :posix) | atime: 0, mtime: 1_700_000_000 + index}, time: :posix)
    end

    %{folder: Path.join(folder, "mlx/2.0/cpu")}
  end

  defp names(folder), do: [folder, "../../*/cpu/*"] |> Path.join() |> Path.wildcard() |> Enum.map(&Path.basename/1)

  test "keeps the files that were used last, of all versions together", %{folder: folder} do
    assert KernelFolder.prune(folder, 3, 1000) == :ok
    assert Enum.sort(names(folder)) == ~w(b c d)
    assert KernelFolder.prune(folder, 3, 250) == :ok
    assert Enum.sort(names(folder)) == ~w(c d)
    assert KernelFolder.prune(folder) == :ok
    assert Enum.sort(names(folder)) == ~w(c d)
    assert KernelFolder.prune(folder, 0, 0) == :ok
    assert names(folder) == []
  end

  test "does nothing where there is no folder", %{tmp_dir: folder} do
    assert KernelFolder.prune(Path.join(folder, "missing/2.0/cpu")) == :ok
  end

  test "is that of the version of MLX" do
    assert KernelFolder.path() == Path.join(System.tmp_dir!(), "mlx/#{Mlx.Native.version()}/cpu")
    assert KernelFolder.problem() == nil
  end
end
