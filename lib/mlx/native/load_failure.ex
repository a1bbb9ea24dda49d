defmodule Mlx.Native.LoadFailure do
  @moduledoc false
  # Why the native library could not be loaded: what the system says of it, and what that means. Each native function
  # raises it then, as the VM by itself would say no more than that the function is undefined.

  alias Mlx.Native.RawFile

  # See Mlx.Native.
  require RawFile

  @failure {__MODULE__, :failure}

  # Written beside the native library when it is built, as Linux does not say where it looked.
  @folder_of_mlx "libmlx_folder"

  @rebuild "`bin/setup` and then `mix compile --force` build it anew"

  # What the texts of the system have in common, and what to do.
  @meanings [
    {~r/incompatible architecture|wrong architecture|need '/,
     "Erlang is made for another processor than the library; use one for this machine's"},
    {~r/[Ss]ymbol not found|undefined symbol: (?!_?nif_init)/,
     "the MLX that it finds is not the one that it was built for (MLX_DIR), or the system is older than the compiler's"},
    {~r/version .?(GLIBC|GLIBCXX|CXXABI)_[0-9.]+/,
     "this system is older than the library: it needs glibc 2.35 and the C++ library of GCC 12, as Ubuntu 22.04 has them"},
    {~r/Function not found/,
     "a row of c_src/nif/tables needs a line in @functions of lib/mlx/native/native.ex, with the number of its arguments"},
    {~r/Library load-call unsuccessful/, "MLX could not start on this machine"}
  ]

  @doc "Keeps the words of `reason/2`, for `error/0`."
  @spec keep(String.t()) :: :ok
  def keep(reason), do: :persistent_term.put(@failure, reason)

  @doc "What a native function raises that is not loaded."
  @spec error() :: Exception.t()
  def error do
    reason = :persistent_term.get(@failure, "the native library is not loaded")
    %Mlx.Error{message: "MLX cannot be used: #{reason}"}
  end

  @doc """
  Why a library does not load: what the system says, in one line, with what it means; where the library itself is missing,
  that alone. `text` is that of `:erlang.load_nif/2`, and `library` the path without `.so`.
  """
  @spec reason(charlist(), Path.t()) :: String.t()
  def reason(text, library) do
    if File.exists?(library <> ".so", [:raw]) do
      line = text |> to_string() |> String.split() |> Enum.join(" ")
      line <> meaning(line, library)
    else
      "the native library is not at #{library}.so; `mix compile --force` builds it"
    end
  end

  defp meaning(line, library) do
    if line =~ ~r/Library not loaded|cannot open shared object file/ do
      missing(line, library)
    else
      Enum.find_value(@meanings, "", fn {pattern, text} -> if line =~ pattern, do: " (#{text})" end)
    end
  end

  # A precompiled library has MLX beside itself, in the folder `mlx`.
  defp missing(line, library) do
    folder = library |> Path.dirname() |> Path.join("mlx/lib")

    cond do
      not File.dir?(folder, [:raw]) ->
        " (when the native library was built, MLX was #{place_of_mlx(library)}; #{@rebuild})"

      line =~ ~r/libmlx\./ ->
        " (MLX belongs beside the library, into #{folder}; `mix deps.compile mlx --force` puts it there)"

      true ->
        " (this system lacks a library that MLX needs, and that no archive brings: install it)"
    end
  end

  defp place_of_mlx(library) do
    case library |> Path.dirname() |> Path.join(@folder_of_mlx) |> RawFile.read() do
      nil -> "where it no longer is"
      folder -> "in " <> folder
    end
  end
end
