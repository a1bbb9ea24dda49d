for name <- ~w(target archive), do: Code.require_file("../../mix/package/#{name}.exs", __DIR__)

defmodule Mlx.Package.FreshProjectTest do
  # All that a user does: a new project, the dependency, a call, a release. The package is a copy of the files that mix.exs lists
  # for Hex, with a version that is released. Its archive holds the library that the tests run with, made to look for MLX beside
  # itself, and is served on the loopback.
  use ExUnit.Case, async: true

  alias Mlx.ArchiveServer
  alias Mlx.Package.{Archive, Target}

  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @root Path.expand("../..", __DIR__)
  @priv Path.join(Mix.Project.app_path(), "priv")
  @version "0.7.0"

  # What the start of Elixir and Erlang takes: shells, and what their scripts call.
  @starters ~w(sh dash env mix elixir erl erlexec beam.smp erl_child_setup inet_gethost dyn_erl epmd basename dirname readlink sed uname)

  # What a release's script takes as well.
  @script ~w(cat cut grep head tail tr od rm mkdir cp date id)

  if :os.type() != {:unix, :linux} do
    @moduletag skip: "the archive of a Mac needs what only bin/precompile makes"
  end

  defp package(world) do
    folder = Path.join(world, "mlx")

    for name <- Mix.Project.config()[:package][:files], path = Path.join(@root, name), File.exists?(path) do
      File.mkdir_p!(Path.dirname(Path.join(folder, name)))
      File.cp_r!(path, Path.join(folder, name))
    end

    mix = Path.join(folder, "mix.exs")
    File.write!(mix, Regex.replace(~r/@version ".*"/, File.read!(mix), ~s(@version "#{@version}")))
    folder
  end

  # The name of the folder where MLX is takes less room than where it was.
  defp archive(world, package) do
    lib = File.read!(Path.join(@priv, "libmlx_folder"))
    files = Path.join(world, "files")
    here = "$ORIGIN/mlx/lib"
    padded = here <> :binary.copy(<<0>>, byte_size(lib) - byte_size(here))
    [libraries] = Path.wildcard(Path.join(lib, "../../*.libs"))
    for folder <- ["mlx/lib", Path.basename(libraries)], do: File.mkdir_p!(Path.join(files, folder))
    nif = File.read!(Path.join(@priv, "mlx_nif.so"))
    File.write!(Path.join(files, "mlx_nif.so"), :binary.replace(nif, lib <> <<0>>, padded <> <<0>>))
    File.cp!(Path.join(lib, "libmlx.so"), Path.join(files, "mlx/lib/libmlx.so"))

    for path <- Path.wildcard(libraries <> "/*"), Path.basename(path) =~ ~r/^lib(blas|lapack|scipy)/ do
      File.cp!(path, Path.join([files, Path.basename(libraries), Path.basename(path)]))
    end

    {:ok, target} = Target.find(Target.machine(), %{})
    file = Path.join(world, Archive.name(@version, target))
    :ok = Archive.pack(files, file)
    File.write!(Path.join(package, "archives.txt"), Archive.line(file) <> "\n")
    file
  end

  # A folder with these programs, and no other, for PATH.
  defp programs(world, names) do
    bin = Path.join(world, "bin")
    File.mkdir_p!(bin)
    for name <- names, path = System.find_executable(name), do: File.ln_s(path, Path.join(bin, name))
    bin
  end

  defp run(program, arguments, options) do
    environment = %{"MIX_ENV" => "prod", "ERL_LIBS" => nil, "HOME" => options[:home], "LC_ALL" => "C.UTF-8"}

    unset =
      for name <- ~w(MLX_DIR MLX_C_DIR MLX_BUILD MLX_BACKEND XDG_CACHE_HOME http_proxy https_proxy all_proxy),
          do: {name, nil}

    environment = environment |> Map.merge(Map.new(unset)) |> Map.merge(options[:env])
    System.cmd(program, arguments, cd: options[:cd], env: environment, stderr_to_stdout: true)
  end

  # strace stops a thread at every call until it has seen it make one that is traced. `set_robust_list` is each thread's first.
  @traced ~w(-f -qq --seccomp-bpf -e trace=execve,set_robust_list -o)

  # The programs that were started, by their names; none where nobody can tell.
  defp traced(world, arguments, options) do
    trace = Path.join(world, "trace")
    strace = System.find_executable("strace")

    if strace && match?({_output, 0}, System.cmd(strace, @traced ++ [trace, "true"], stderr_to_stdout: true)) do
      mix = System.find_executable("mix")
      {output, status} = run(strace, @traced ++ [trace, mix | arguments], options)
      started = trace |> File.read!() |> started()
      assert "beam.smp" in started
      {output, status, started}
    else
      IO.puts(
        "There is no strace that works: which programs an installation starts is known by those that it finds only."
      )

      {output, status} = run("mix", arguments, options)
      {output, status, []}
    end
  end

  # What a call gives is in a line of its own where another thread came between.
  defp started(trace) do
    for line <- String.split(trace, "\n", trim: true), reduce: {%{}, []} do
      {programs, started} ->
        [process, call] = String.split(line, ~r/ +/, parts: 2)
        path = Regex.run(~r/^execve\("([^"]+)"/, call, capture: :all_but_first)
        programs = if path, do: Map.put(programs, process, Path.basename(hd(path))), else: programs
        {programs, if(call =~ ~r/execve.* = 0$/, do: [programs[process] | started], else: started)}
    end
    |> elem(1)
    |> Enum.uniq()
  end

  test "a new project compiles without compilers, computes, and its release runs elsewhere", %{tmp_dir: world} do
    package = package(world)
    file = archive(world, package)
    server = ArchiveServer.start(fn _request -> {:file, File.read!(file)} end)
    cache = Path.join(world, "cache")
    app = Path.join(world, "fresh")
    few = programs(world, @starters)
    environment = %{"PATH" => few, "MLX_NIF_URL" => server.url, "MLX_CACHE" => cache}
    options = [cd: world, home: world, env: environment]

    assert {_output, 0} = run("mix", ["new", "fresh"], options)
    mix = Path.join(app, "mix.exs")

    with_dependency =
      Regex.replace(~r/defp deps do\s+\[.*?\]\s+end/s, File.read!(mix), ~s(defp deps, do: [{:mlx, path: "../mlx"}]))

    File.write!(mix, with_dependency)
    options = Keyword.put(options, :cd, app)

    assert {output, 0, started} = traced(world, ["compile"], options)
    assert output =~ "mlx: downloading #{Path.basename(file)}"
    refute output =~ "warning"
    assert started -- @starters == []
    assert Enum.map(ArchiveServer.requests(server), & &1.path) == ["/" <> Path.basename(file)]

    call = "IO.inspect(Mlx.to_number(Mlx.add(1, 2)))"
    assert {"3\n", 0} = run("mix", ["run", "-e", call], options)

    # Another project of the user downloads nothing.
    File.rm_rf!(Path.join(app, "_build/prod/lib/mlx/priv"))
    assert {output, 0} = run("mix", ["compile"], options)
    refute output =~ "downloading"
    assert length(ArchiveServer.requests(server)) == 1

    more = programs(world, @script)
    options = Keyword.put(options, :env, %{environment | "PATH" => more})
    assert {_output, 0} = run("mix", ["release", "--path", Path.join(world, "release")], options)
    File.rename!(Path.join(world, "release"), Path.join(world, "elsewhere"))
    for folder <- [cache, package, app, Path.join(world, "files")], do: File.rm_rf!(folder)
    options = Keyword.put(options, :cd, world)
    solve = "Mlx.Linalg.invert(Mlx.array([[2.0]])) |> Mlx.to_list() |> IO.inspect()"
    program = Path.join(world, "elsewhere/bin/fresh")
    assert {"3\n", 0} = run(program, ["eval", call], options)
    assert {"[[0.5]]\n", 0} = run(program, ["eval", solve], options)
  end

  test "the files of the package are all that building from source takes", %{tmp_dir: world} do
    package = package(world)

    source = [
      cd: package,
      home: System.get_env("HOME"),
      env: %{"MLX_BUILD" => "true", "MLX_CACHE" => System.get_env("MLX_CACHE")}
    ]

    assert {_output, 0} = run("mix", ["compile.mlx_native"], source)
    assert File.exists?(Path.join(package, "_build/prod/lib/mlx/priv/mlx_nif.so"))
    # What of it is built by a compiler: the build is configured, and each file is there.
    for file <- Path.wildcard(@root <> "/c_src/**/*.{cpp,hpp,h,txt}"),
        do: assert(File.read!(file) == File.read!(Path.join(package, Path.relative_to(file, @root))))
  end

  test "without an archive the compilation ends with the sentence", %{tmp_dir: world} do
    package = package(world)
    options = [cd: package, home: world, env: %{"MLX_CACHE" => Path.join(world, "cache")}]
    assert {output, 1} = run("mix", ["compile"], options)
    assert output =~ "mlx: this copy of mlx #{@version} has no list of archives that it trusts (archives.txt)"
    refute output =~ "** ("
    refute output =~ "Compiling"
  end
end
