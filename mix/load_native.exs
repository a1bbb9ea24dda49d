defmodule Mix.Tasks.Compile.MlxLoad do
  @moduledoc """
  Loads the native library once after it was built, in a virtual machine of its own, so that one that does not load is an
  error of the compilation, which says why, and not one of the first call.

  A library for CUDA is not loaded: its driver may be on another machine than the one that builds. Nor is one for another
  machine than this one, as Nerves asks for it.
  """

  use Mix.Task.Compiler

  @recursive true

  # Stands in for Mlx.Native, which finds its library by itself: the same functions, and one that loads another.
  @program """
  [beam, library, folder] = System.argv()
  {:ok, {Mlx.Native, [exports: exports]}} = :beam_lib.chunks(String.to_charlist(beam), [:exports])

  defmodule Mlx.Native do
    for {name, arity} <- exports, name not in [:__info__, :module_info] do
      def unquote(name)(unquote_splicing(Macro.generate_arguments(arity, __MODULE__))), do: :erlang.nif_error(:not_loaded)
    end

    def load_library(library), do: :erlang.load_nif(String.to_charlist(library), 0)
  end

  case Mlx.Native.load_library(library) do
    :ok ->
      IO.puts("loaded")

    {:error, {_kind, text}} ->
      Code.append_path(folder)
      IO.puts(["reason: ", Mlx.Native.LoadFailure.reason(text, library)])
  end
  """

  @impl true
  def run(_args) do
    stamp = stamp()

    cond do
      elsewhere?() or File.read(manifest()) == {:ok, stamp} -> {:noop, []}
      message = problem(beam(), library()) -> failure(message)
      true -> success(stamp)
    end
  end

  defp elsewhere?, do: System.get_env("MLX_BACKEND") == "cuda" or System.get_env("TARGET_ARCH", "") != ""

  @doc "What is wrong with the library, as a sentence, or nil. `beam` is the file of the compiled module Mlx.Native."
  @spec problem(Path.t(), Path.t()) :: String.t() | nil
  def problem(beam, library) do
    arguments = ["-e", @program, beam, Path.rootname(library), Mix.Project.compile_path()]
    {output, status} = System.cmd("elixir", arguments, stderr_to_stdout: true)
    # Elixir may warn of something first, such as the locale.
    if status == 0 and String.ends_with?(output, "loaded\n"), do: nil, else: sentence(output, status)
  rescue
    error in ErlangError -> "elixir, which tries the native library, could not be started: #{inspect(error.original)}"
  end

  defp sentence(output, status) do
    case String.split(output, "reason: ", parts: 2) do
      [_before, reason] ->
        "the native library does not load: #{String.trim(reason)}"

      [output] ->
        "the native library is there, but Erlang ended with status #{status} as it loaded it: #{last(output)}"
    end
  end

  defp last(output), do: output |> String.split("\n", trim: true) |> List.last("no output")

  defp failure(message) do
    Mix.shell().error(message)

    {:error,
     [
       %Mix.Task.Compiler.Diagnostic{
         file: library(),
         position: 0,
         severity: :error,
         message: message,
         compiler_name: "mlx_load"
       }
     ]}
  end

  defp success(stamp) do
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), stamp)
    {:ok, []}
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    File.rm(manifest())
    :ok
  end

  defp stamp, do: inspect(for file <- [library(), beam()], do: {file, File.stat!(file, time: :posix).mtime})

  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.mlx_load")
  defp library, do: Path.join(Mix.Project.app_path(), "priv/mlx_nif.so")
  defp beam, do: Path.join(Mix.Project.compile_path(), "Elixir.Mlx.Native.beam")
end
