defmodule BuildNifTest do
  # bin/build_nif with a CMake that makes up a library and notes what it was asked for. How the real one builds, and that it
  # builds again only what has changed, is what every compilation shows.
  use ExUnit.Case, async: true

  alias Mlx.FileTree

  @build_nif Path.expand("../bin/build_nif", __DIR__)
  @kept 8

  @moduletag :tmp_dir

  @cmake ~S"""
  #!/bin/sh
  case $1 in
    --build)
      echo build >>"$WORLD/calls"
      eval "${DURING_BUILD:-true}"
      echo "library for $CXXFLAGS of $2" >"$2/mlx_nif.so"
      ;;
    *) echo configure >>"$WORLD/calls" ;;
  esac
  """

  setup %{tmp_dir: world} do
    files = ~w(mlx/include/mlx/mlx.h mlx-c/include/mlx/c/mlx.h mlx-c/lib/libmlxc.a erts/erl_nif.h)
    for file <- files, do: write(world, file, "")
    write(world, "bin/cmake", @cmake)
    write(world, "bin/c++", "#!/bin/sh\ncat #{world}/release\n")
    for program <- ~w(cmake c++), do: File.chmod!(Path.join([world, "bin", program]), 0o755)
    write(world, "release", "c++ 1.0")
    :ok
  end

  defp write(world, file, content), do: FileTree.write!(world, %{file => content})

  # Another bash, such as the one of macOS.
  defp bash, do: System.get_env("MLX_TEST_BASH", "bash")

  # For an application with a build folder of its own. Returns the output and the exit status.
  defp build(world, application, options \\ []) do
    environment = %{
      "WORLD" => world,
      "PATH" => "#{world}/bin:#{System.get_env("PATH")}",
      "MLX_CACHE" => Path.join(world, "cache"),
      "MLX_DIR" => Path.join(world, "mlx"),
      "MLX_C_DIR" => Path.join(world, "mlx-c"),
      "ERTS_INCLUDE_DIR" => Path.join(world, "erts"),
      "CXX" => Path.join(world, "bin/c++"),
      "CXXFLAGS" => nil
    }

    arguments = [Keyword.get(options, :command, "library"), objects(world, application), priv(world, application)]
    environment = Enum.to_list(Map.merge(environment, Map.new(Keyword.get(options, :env, []))))
    System.cmd(bash(), [@build_nif | arguments], env: environment, stderr_to_stdout: true)
  end

  defp objects(world, application), do: Path.join([world, application, "native"])
  defp priv(world, application), do: Path.join([world, application, "priv"])
  defp library(world, application), do: File.read!(Path.join(priv(world, application), "mlx_nif.so"))
  defp cached(world), do: Path.wildcard(Path.join(world, "cache/nif/*.so"))

  # How often CMake built and configured since the last question.
  defp calls(world) do
    file = Path.join(world, "calls")
    calls = if File.exists?(file), do: file |> File.read!() |> String.split() |> Enum.frequencies(), else: %{}
    File.rm(file)
    calls
  end

  test "a library is built once on a machine", %{tmp_dir: world} do
    assert {output, 0} = build(world, "one")
    assert output =~ "Building the native library"
    assert {"", 0} = build(world, "two")
    assert calls(world) == %{"configure" => 1, "build" => 1}
    assert library(world, "two") == library(world, "one")
    assert File.read!(Path.join(priv(world, "two"), "libmlx_folder")) == Path.join(world, "mlx/lib")
  end

  test "what it is made of makes another library, and the same once more the one before", %{tmp_dir: world} do
    changes = [
      fn -> write(world, "mlx/include/mlx/mlx.h", "// changed") end,
      fn -> write(world, "mlx-c/include/mlx/c/mlx.h", "// changed") end,
      fn -> write(world, "mlx-c/lib/libmlxc.a", "changed") end,
      fn -> write(world, "erts/erl_nif.h", "// changed") end,
      fn -> write(world, "release", "c++ 2.0") end
    ]

    for change <- [fn -> :ok end | changes] do
      change.()
      assert {_output, 0} = build(world, "one")
      assert {_output, 0} = build(world, "two")
      assert calls(world)["build"] == 1
    end

    assert {_output, 0} = build(world, "one", env: [{"CXXFLAGS", "-O3"}])
    assert library(world, "one") =~ "library for -O3"
    assert {_output, 0} = build(world, "two")
    refute library(world, "two") =~ "-O3"
    assert calls(world)["build"] == 1
  end

  test "objects are used again, unless CMake would go on with other options", %{tmp_dir: world} do
    assert {_output, 0} = build(world, "one")
    write(world, "erts/erl_nif.h", "// changed")
    assert {_output, 0} = build(world, "one")
    assert calls(world) == %{"configure" => 1, "build" => 2}

    write(world, "one/native/object", "")
    assert {_output, 0} = build(world, "one", env: [{"CXXFLAGS", "-O3"}])
    assert calls(world) == %{"configure" => 1, "build" => 1}
    refute File.exists?(Path.join(world, "one/native/object"))
  end

  test "a build that is forced takes nothing from the cache, and replaces what is there", %{tmp_dir: world} do
    assert {_output, 0} = build(world, "one")
    [file] = cached(world)
    File.write!(file, "damaged")
    assert {_output, 0} = build(world, "one", command: "force")
    assert calls(world)["build"] == 2
    assert [^file] = cached(world)
    assert File.read!(file) == library(world, "one")
  end

  test "who comes while another builds the same waits for it", %{tmp_dir: world} do
    build = &build(world, &1, env: [{"DURING_BUILD", "sleep 2"}])

    outcomes =
      ~w(one two three) |> Task.async_stream(build, max_concurrency: 3, timeout: :infinity) |> Enum.map(&elem(&1, 1))

    assert Enum.all?(outcomes, &match?({_output, 0}, &1))
    assert Enum.count(outcomes, fn {output, 0} -> output =~ "waiting for another build of the native library" end) == 2
    assert calls(world) == %{"configure" => 1, "build" => 1}
    assert [library] = Enum.uniq(for application <- ~w(one two three), do: library(world, application))
    assert library =~ "library for"
  end

  test "a build that fails or is killed leaves nothing, and the next one builds", %{tmp_dir: world} do
    for {during, status} <- [{"exit 3", 3}, {"kill -KILL $PPID", 137}] do
      assert {_output, ^status} = build(world, "one", env: [{"DURING_BUILD", during}])
      assert cached(world) == []
      refute File.exists?(Path.join(priv(world, "one"), "mlx_nif.so"))
    end

    assert {_output, 0} = build(world, "one")
    assert [_library] = cached(world)
  end

  test "sources that change while they are compiled give a library that nobody else takes", %{tmp_dir: world} do
    assert {_output, 0} = build(world, "one", env: [{"DURING_BUILD", "echo changed >$WORLD/erts/erl_nif.h"}])
    assert library(world, "one") =~ "library for"
    assert cached(world) == []
  end

  test "a library that is in use is replaced, and not written over", %{tmp_dir: world} do
    assert {_output, 0} = build(world, "one")
    file = Path.join(priv(world, "one"), "mlx_nif.so")
    File.ln!(file, Path.join(world, "in_use"))
    in_use = File.read!(file)
    assert {_output, 0} = build(world, "one", env: [{"CXXFLAGS", "-O3"}])
    assert File.read!(file) != in_use
    assert File.read!(Path.join(world, "in_use")) == in_use
  end

  test "those that were used last are kept, and no remains of others", %{tmp_dir: world} do
    for remains <- ~w(a.lock b.so.part.1), do: write(world, "cache/nif/#{remains}", "")
    for remains <- Path.wildcard("#{world}/cache/nif/*"), do: File.touch!(remains, System.os_time(:second) - 3 * 86_400)
    flags = for i <- 1..@kept, do: "-D#{i}"
    for flag <- flags, do: assert({_output, 0} = build(world, "one", env: [{"CXXFLAGS", flag}]))

    # Older than what comes next, and the first was used again.
    for file <- cached(world), do: File.touch!(file, System.os_time(:second) - 60)
    assert {_output, 0} = build(world, "two", env: [{"CXXFLAGS", "-D1"}])
    for flag <- ["-Dx", "-Dy"], do: assert({_output, 0} = build(world, "one", env: [{"CXXFLAGS", flag}]))
    calls(world)

    assert length(cached(world)) == @kept
    for flag <- ["-D1", "-Dx", "-Dy"], do: assert({"", 0} = build(world, "two", env: [{"CXXFLAGS", flag}]))
    assert calls(world) == %{}
    assert Path.wildcard("#{world}/cache/nif/*.part.*") == []
    refute File.exists?(Path.join(world, "cache/nif/a.lock"))
  end

  test "where there is no cache folder to write to, a library is built", %{tmp_dir: world} do
    for environment <- [
          %{"MLX_CACHE" => "/dev/null/cache"},
          %{"MLX_CACHE" => nil, "XDG_CACHE_HOME" => nil, "HOME" => nil}
        ] do
      assert {_output, 0} = build(world, "one", env: environment)
      assert calls(world)["build"] == 1
    end

    assert library(world, "one") =~ "library for"
  end

  test "what is missing is said in a sentence", %{tmp_dir: world} do
    assert {"bin/build_nif: MLX_DIR has to be set\n", 1} = build(world, "one", env: [{"MLX_DIR", ""}])

    File.rm!(Path.join(world, "bin/cmake"))

    for tool <- ~w(bash awk cat cut dirname find flock perl sha256sum shasum sort uname mkdir touch sed),
        path = System.find_executable(tool),
        do: File.ln_s!(path, Path.join([world, "bin", tool]))

    assert {output, 1} = build(world, "one", env: [{"PATH", Path.join(world, "bin")}])
    assert output =~ "bin/build_nif: cmake, which builds the native library, is missing on this machine; install it\n"
  end
end
