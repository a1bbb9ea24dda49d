defmodule Mix.Tasks.Compile.MlxNative do
  @moduledoc """
  Builds the native library (`c_src/`) into the application's `priv` folder through CMake.

  Where MLX, mlx-c and the C++ compiler come from is decided by `bin/setup`, which fetches and
  builds what is missing; the environment variables `MLX_DIR`, `MLX_C_DIR` and `CXX` override it,
  one by one. The build is skipped while the sources, these folders and the options are the same.
  """

  use Mix.Task.Compiler

  @recursive true
  @root Path.expand("..", __DIR__)
  @sources Path.join(@root, "c_src")
  @setup Path.join(@root, "bin/setup")
  @toolchain ~w(MLX_DIR MLX_C_DIR CXX)
  @environment @toolchain ++ ~w(MLX_CACHE MLX_BACKEND XDG_CACHE_HOME CXXFLAGS LDFLAGS MACOSX_DEPLOYMENT_TARGET)

  @impl true
  def run(args) do
    File.mkdir_p!(priv())
    fingerprint = fingerprint()
    previous = read_manifest()

    if "--force" not in args and previous[:fingerprint] == fingerprint and complete?(previous) do
      {:noop, []}
    else
      build(previous, fingerprint)
    end
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    File.rm_rf!(build_folder())
    Enum.each([library(), folder_of_mlx(), manifest()], &File.rm/1)
    :ok
  end

  defp build(previous, fingerprint) do
    with {:ok, toolchain} <- toolchain(),
         {:ok, erts} <- erts_include(),
         options = cmake_options(toolchain, erts),
         :ok <- discard_other_build(previous[:options], options),
         :ok <- configure(options),
         :ok <- compile() do
      write_folder_of_mlx(toolchain)
      write_manifest(%{fingerprint: fingerprint, options: options, toolchain: toolchain})
      {:ok, []}
    else
      {:error, message} ->
        Mix.shell().error(message)
        {:error, [diagnostic(message)]}
    end
  end

  defp toolchain do
    given = for name <- @toolchain, value = present(System.get_env(name)), into: %{}, do: {name, value}

    if map_size(given) == length(@toolchain), do: {:ok, given}, else: toolchain_from_setup()
  end

  # Progress goes to standard error, and so to the terminal; standard output holds NAME=value lines.
  defp toolchain_from_setup do
    case System.cmd("bash", [@setup, "toolchain"]) do
      {output, 0} ->
        {:ok, for(line <- String.split(output, "\n", trim: true), into: %{}, do: name_and_value(line))}

      {_output, status} ->
        {:error, "bin/setup could not prepare MLX (exit status #{status}); see its message above"}
    end
  rescue
    error in ErlangError -> {:error, "bash, which runs bin/setup, could not be started: #{inspect(error.original)}"}
  end

  defp name_and_value(line) do
    [name, value] = String.split(line, "=", parts: 2)
    {name, value}
  end

  defp erts_include do
    root = to_string(:code.root_dir())
    folders = [Path.join(root, "erts-#{:erlang.system_info(:version)}/include"), Path.join(root, "usr/include")]

    case Enum.find(folders, &File.exists?(Path.join(&1, "erl_nif.h"))) do
      nil -> {:error, "erl_nif.h is in none of #{Enum.join(folders, ", ")}: install Erlang's headers (erlang-dev)"}
      folder -> {:ok, folder}
    end
  end

  defp cmake_options(toolchain, erts) do
    [
      "-DCMAKE_BUILD_TYPE=Release",
      "-DCMAKE_CXX_COMPILER=#{toolchain["CXX"]}",
      "-DMLX_DIR=#{Path.expand(toolchain["MLX_DIR"])}",
      "-DMLX_C_DIR=#{Path.expand(toolchain["MLX_C_DIR"])}",
      "-DERTS_INCLUDE_DIR=#{erts}",
      "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=#{priv()}"
    ]
  end

  # CMake forgets options when the compiler of a configured build changes.
  defp discard_other_build(options, options), do: :ok

  defp discard_other_build(_previous, _options) do
    File.rm_rf!(build_folder())
    :ok
  end

  defp configure(options) do
    generator = if System.find_executable("ninja"), do: ["-G", "Ninja"], else: []
    cmake(["-S", @sources, "-B", build_folder()] ++ generator ++ options, "")
  end

  defp compile do
    Mix.shell().info("Building the native library")
    jobs = to_string(System.schedulers_online())
    cmake(["--build", build_folder(), "--parallel", jobs], IO.stream())
  end

  defp cmake(arguments, into) do
    case System.cmd("cmake", arguments, into: into, stderr_to_stdout: true) do
      {_output, 0} -> :ok
      {output, status} -> {:error, "cmake failed with exit status #{status}\n" <> text(output)}
    end
  rescue
    error in ErlangError -> {:error, "cmake could not be started: #{inspect(error.original)}"}
  end

  defp text(output) when is_binary(output), do: output
  defp text(_streamed), do: ""

  defp complete?(%{toolchain: toolchain}) do
    File.exists?(library()) and File.dir?(toolchain["MLX_DIR"]) and File.dir?(toolchain["MLX_C_DIR"])
  end

  defp fingerprint do
    files = [@setup] ++ Enum.flat_map(["setup/*", "c_src/**/*"], &Path.wildcard(Path.join(@root, &1)))
    stamps = for file <- Enum.sort(files), do: {file, stamp(file)}
    :erlang.md5(:erlang.term_to_binary({stamps, Enum.map(@environment, &System.get_env/1)}))
  end

  defp stamp(file) do
    case File.stat(file, time: :posix) do
      {:ok, %File.Stat{type: :regular, mtime: mtime, size: size}} -> {mtime, size}
      _folder_or_missing -> nil
    end
  end

  defp read_manifest do
    case File.read(manifest()) do
      {:ok, content} -> :erlang.binary_to_term(content)
      {:error, _reason} -> %{}
    end
  end

  defp write_manifest(content) do
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), :erlang.term_to_binary(content))
  end

  # For Mlx.LoadFailure: Linux does not say where it looked for MLX.
  defp write_folder_of_mlx(toolchain) do
    File.write!(folder_of_mlx(), Path.join(Path.expand(toolchain["MLX_DIR"]), "lib"))
  end

  defp diagnostic(message) do
    %Mix.Task.Compiler.Diagnostic{
      file: Path.join(@sources, "CMakeLists.txt"),
      position: 0,
      severity: :error,
      message: message,
      compiler_name: "mlx_native"
    }
  end

  defp present(value) when value in [nil, ""], do: nil
  defp present(value), do: value

  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.mlx_native")
  defp priv, do: Path.join(Mix.Project.app_path(), "priv")
  defp library, do: Path.join(priv(), "mlx_nif.so")
  defp folder_of_mlx, do: Path.join(priv(), "libmlx_folder")
  defp build_folder, do: Path.join(Mix.Project.app_path(), "native")
end
