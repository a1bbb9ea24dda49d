defmodule Mix.Tasks.Compile.MlxNative do
  @moduledoc """
  Brings the native library into the application's `priv` folder: the precompiled one of a released version
  (`mix/package/install.exs`), or one that is built from `c_src/`.

  Where MLX, mlx-c and the C++ compiler come from is decided by `bin/setup`, which fetches and
  builds what is missing; the environment variables `MLX_DIR`, `MLX_C_DIR` and `CXX` override it,
  one by one. `bin/build_nif` then builds the library, or takes it from the cache folder where
  this machine has built the same before; with `--force` it builds. Nothing is done while the
  sources, these folders and the options are the same.
  """

  use Mix.Task.Compiler

  alias Mlx.Package.Install

  @recursive true
  @root Path.expand("..", __DIR__)
  @sources Path.join(@root, "c_src")
  @setup Path.join(@root, "bin/setup")
  @build_nif Path.join(@root, "bin/build_nif")
  @toolchain ~w(MLX_DIR MLX_C_DIR CXX)
  @environment @toolchain ++
                 ~w(MLX_CACHE MLX_BACKEND XDG_CACHE_HOME CXXFLAGS LDFLAGS CPATH CPLUS_INCLUDE_PATH LIBRARY_PATH SDKROOT) ++
                 ~w(MACOSX_DEPLOYMENT_TARGET)

  @compile {:no_warn_undefined, Install}

  @impl true
  def run(args) do
    if from_source?(), do: from_source(args), else: from_archive(args)
  end

  @doc "Whether the library is built from source: by MLX_BUILD, a version that is not released, or an MLX that is given."
  @spec from_source?(String.t()) :: boolean()
  def from_source?(version \\ Mix.Project.config()[:version]) do
    given? = fn names -> Enum.any?(names, &present(System.get_env(&1))) end

    cond do
      build = present(System.get_env("MLX_BUILD")) -> build in ["true", "1"]
      given?.(~w(MLX_NIF_ARCHIVE MLX_NIF_URL)) -> false
      true -> given?.(~w(MLX_DIR MLX_C_DIR)) or String.ends_with?(version, "-dev")
    end
  end

  defp from_archive(args) do
    Code.require_file("package/install.exs", __DIR__)
    config = Mix.Project.config()

    package = %{
      version: config[:version],
      checksums: Path.join(@root, "archives.txt"),
      address: "#{config[:source_url]}/releases/download/v#{config[:version]}",
      priv: priv()
    }

    previous = if "--force" in args, do: nil, else: read_manifest()[:archive]

    case Install.run(package, previous) do
      {:noop, _same} ->
        {:noop, []}

      {:ok, installed} ->
        write_manifest(%{archive: installed})
        {:ok, []}

      {:error, sentence} ->
        failed("mlx: " <> sentence)
    end
  end

  defp from_source(args) do
    fingerprint = fingerprint()
    previous = read_manifest()
    # What an archive brought is no part of a library that is built.
    if previous[:archive], do: File.rm_rf!(priv())

    if "--force" not in args and previous[:fingerprint] == fingerprint and complete?(previous) do
      {:noop, []}
    else
      build(args, fingerprint)
    end
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    for folder <- [build_folder(), priv()], do: File.rm_rf!(folder)
    File.rm(manifest())
    :ok
  end

  defp build(args, fingerprint) do
    with {:ok, toolchain} <- toolchain(),
         {:ok, erts} <- erts_include(),
         toolchain = toolchain |> expand(~w(MLX_DIR MLX_C_DIR)) |> Map.put("ERTS_INCLUDE_DIR", erts),
         :ok <- bring_library(toolchain, args) do
      write_manifest(%{fingerprint: fingerprint, toolchain: toolchain})
      {:ok, []}
    else
      {:error, message} ->
        failed(message)
    end
  end

  defp failed(message) do
    Mix.shell().error(message)
    {:error, [diagnostic(message)]}
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

  defp expand(toolchain, folders),
    do: Enum.reduce(folders, toolchain, &Map.update!(&2, &1, fn path -> Path.expand(path) end))

  defp erts_include do
    root = to_string(:code.root_dir())
    folders = [Path.join(root, "erts-#{:erlang.system_info(:version)}/include"), Path.join(root, "usr/include")]

    case Enum.find(folders, &File.exists?(Path.join(&1, "erl_nif.h"))) do
      nil -> {:error, "erl_nif.h is in none of #{Enum.join(folders, ", ")}: install Erlang's headers (erlang-dev)"}
      folder -> {:ok, folder}
    end
  end

  defp bring_library(toolchain, args) do
    command = if "--force" in args, do: "force", else: "library"
    jobs = System.get_env("CMAKE_BUILD_PARALLEL_LEVEL") || to_string(System.schedulers_online())
    environment = [{"CMAKE_BUILD_PARALLEL_LEVEL", jobs} | Enum.to_list(toolchain)]
    options = [env: environment, into: IO.stream(), stderr_to_stdout: true]

    case System.cmd("bash", [@build_nif, command, build_folder(), priv()], options) do
      {_output, 0} ->
        :ok

      {_output, status} ->
        {:error, "the native library could not be built (exit status #{status}); see the message above"}
    end
  rescue
    error in ErlangError -> {:error, "bash, which runs bin/build_nif, could not be started: #{inspect(error.original)}"}
  end

  defp complete?(%{toolchain: toolchain}) do
    File.exists?(library()) and File.dir?(toolchain["MLX_DIR"]) and File.dir?(toolchain["MLX_C_DIR"])
  end

  defp fingerprint do
    files = [@setup, @build_nif] ++ Enum.flat_map(["setup/*", "c_src/**/*"], &Path.wildcard(Path.join(@root, &1)))
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
  defp build_folder, do: Path.join(Mix.Project.app_path(), "native")
end
