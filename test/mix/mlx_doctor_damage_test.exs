defmodule Mix.Tasks.Mlx.DoctorDamageTest do
  # `mix mlx.doctor` in an application whose native library was damaged as it happens: what it finds wrong, and what it says to do.
  use ExUnit.Case, async: true

  alias Mlx.FileTree

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @app Mix.Project.app_path()

  # A folder `mlx` with the code of the application and a copy of its native library, which `change` damages.
  defp findings(world, change, environment \\ []) do
    app = Path.join(world, "mlx")
    File.mkdir!(app)
    File.ln_s!(Path.join(@app, "ebin"), Path.join(app, "ebin"))
    File.cp_r!(Path.join(@app, "priv"), Path.join(app, "priv"))
    change.(Path.join(app, "priv"))
    code = "Mix.start()\nMix.Tasks.Mlx.Doctor.run([\"--json\"])"

    {output, status} =
      System.cmd("elixir", ["-pa", Path.join(app, "ebin"), "-e", code],
        cd: world,
        env: [{"ERL_LIBS", nil} | environment],
        stderr_to_stdout: true
      )

    {:ok, findings} = output |> String.split("\n") |> Enum.find(&String.starts_with?(&1, "[{")) |> JSON.decode()
    {for(finding <- findings, not finding["ok"], into: %{}, do: {finding["name"], finding}), status}
  end

  test "without a library", %{tmp_dir: world} do
    {wrong, 1} = findings(world, &File.rm!(Path.join(&1, "mlx_nif.so")))
    assert Map.keys(wrong) == ["native library"]
    assert wrong["native library"]["text"] =~ "the native library is not at #{world}/mlx/priv/mlx_nif.so"
    assert wrong["native library"]["advice"] =~ ~r/^run `mix compile --force`/
  end

  test "with the library of another processor", %{tmp_dir: world} do
    {wrong, 1} =
      findings(world, fn priv ->
        File.rm!(Path.join(priv, "mlx_nif.so"))
        FileTree.write!(priv, %{"mlx_nif.so" => <<0x7F, "ELF", 2, 1, 1, 0::72, 3::little-16, 22::little-16, 0::800>>})
      end)

    assert wrong["processor"]["text"] =~ "mlx_nif.so is for processor 22 on Linux, and this Erlang is for "
    assert wrong["processor"]["advice"] =~ "use an Erlang for this machine's processor"
    refute Map.has_key?(wrong, "native library")
    assert wrong["NIF"]["text"] =~ "Failed to load NIF library"
  end

  test "with a page of a proxy in the place of the library", %{tmp_dir: world} do
    {wrong, 1} =
      findings(world, fn priv ->
        File.rm!(Path.join(priv, "mlx_nif.so"))
        FileTree.write!(priv, %{"mlx_nif.so" => "<html>no</html>"})
      end)

    assert wrong["processor"]["text"] =~ "mlx_nif.so is for no system: it is no library"
    assert wrong["NIF"]["advice"] =~ ~r/^run `mix compile --force`/
  end

  test "without the kernels for Metal", %{tmp_dir: world} do
    {wrong, 1} =
      findings(world, fn priv ->
        File.rm!(Path.join(priv, "libmlx_folder"))
        FileTree.write!(priv, %{"mlx/lib/libmlx.dylib" => "MLX"})
      end)

    assert Map.keys(wrong) == ["files of MLX"]

    assert wrong["files of MLX"]["text"] =~
             "mlx.metallib, which holds the kernels for Metal, is not in #{world}/mlx/priv/mlx/lib"
  end

  test "with files that macOS holds back", %{tmp_dir: world} do
    bin = Path.join(world, "bin")
    FileTree.write!(bin, %{"xattr" => "#!/bin/sh\ncase $1 in *.so) echo com.apple.quarantine ;; esac\n"})
    File.chmod!(Path.join(bin, "xattr"), 0o755)
    {wrong, 1} = findings(world, & &1, [{"PATH", bin <> ":" <> System.fetch_env!("PATH")}])
    assert Map.keys(wrong) == ["quarantine"]
    assert wrong["quarantine"]["text"] =~ "mlx_nif.so"
    assert wrong["quarantine"]["advice"] =~ "xattr -dr com.apple.quarantine"
  end

  test "with another MLX where the library looks for it", %{tmp_dir: world} do
    # A library without a function of MLX stands for one of another version; libmlx_folder says where the compiled one is.
    other = Path.join(world, "other")
    FileTree.write!(other, %{"empty.c" => ""})
    suffix = if :os.type() == {:unix, :darwin}, do: "dylib", else: "so"

    {_output, 0} =
      System.cmd(System.get_env("CC") || "cc", ["-shared", "-o", "libmlx.#{suffix}", "empty.c"],
        cd: other,
        stderr_to_stdout: true
      )

    variable = if suffix == "so", do: "LD_LIBRARY_PATH", else: "DYLD_LIBRARY_PATH"
    {wrong, 1} = findings(world, & &1, [{variable, other}])
    assert Map.keys(wrong) == ["NIF"]
    assert wrong["NIF"]["text"] =~ "is not the one that it was built for"
  end
end
