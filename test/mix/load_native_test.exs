defmodule Mix.Tasks.Compile.MlxLoadTest do
  use ExUnit.Case, async: true

  alias Mix.Tasks.Compile.MlxLoad

  @moduletag :tmp_dir

  @beam Path.join(Mix.Project.compile_path(), "Elixir.Mlx.Native.beam")
  @library Path.join(Mix.Project.app_path(), "priv/mlx_nif.so")

  test "nothing is wrong with a library that loads" do
    assert MlxLoad.problem(@beam, @library) == nil
  end

  test "what the system says of one that it cannot load is one sentence", %{tmp_dir: folder} do
    library = Path.join(folder, "text.so")
    File.write!(library, "no library")

    assert "the native library does not load: Failed to load NIF library" <> reason =
             MlxLoad.problem(@beam, library)

    assert reason =~ "text.so"
    refute reason =~ "\n"
  end

  test "a library of another version is seen", %{tmp_dir: folder} do
    {:ok, Mlx.Native, beam} = :compile.forms([{:attribute, 1, :module, Mlx.Native}])
    File.write!(Path.join(folder, "other.beam"), beam)
    assert MlxLoad.problem(Path.join(folder, "other.beam"), @library) =~ "does not load: Function not found"
  end

  test "an Erlang that ends is seen", %{tmp_dir: folder} do
    assert MlxLoad.problem(Path.join(folder, "none.beam"), @library) =~ "Erlang ended with status 1 as it loaded it: "
  end
end
