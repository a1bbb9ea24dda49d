defmodule Mix.Mlx.Locale do
  @moduledoc false
  # Without a locale, as in containers and in cron, Erlang reads arguments and input as Latin-1, and writes what Latin-1 lacks as
  # \x{...}. Text is UTF-8 there all the same. `Mix.Mlx.Switches` calls it for each task.

  @doc "The arguments as they were written. Input and output are UTF-8 from then on, unless a locale says otherwise."
  @spec arguments([String.t()]) :: [String.t()]
  def arguments(arguments) do
    if none?(&System.get_env/1) do
      for device <- [:standard_io, :standard_error], do: :io.setopts(device, encoding: :unicode)
      for argument <- arguments, do: text(argument, :file.native_name_encoding())
    else
      arguments
    end
  end

  @doc "Input as it was written, line by line: Erlang reads the beginning of a pipe before a task can say that it is UTF-8."
  @spec input(String.t()) :: String.t()
  def input(text) do
    if none?(&System.get_env/1),
      do: text |> String.split("\n") |> Enum.map_join("\n", &text(&1, :latin1)),
      else: text
  end

  @doc "Whether the environment, a function of the name of a variable, has no locale, or the one without an encoding."
  @spec none?((String.t() -> String.t() | nil)) :: boolean()
  def none?(environment) do
    set = for name <- ["LC_ALL", "LC_CTYPE", "LANG"], value = environment.(name), value != "", do: value
    List.first(set) in [nil, "C", "POSIX"]
  end

  @doc """
  A text as it was written, whose bytes Erlang has read in an encoding.

      iex> Mix.Mlx.Locale.text("GrÃ¼n", :latin1)
      "Grün"
      iex> Mix.Mlx.Locale.text("GrÃ¼n", :utf8)
      "GrÃ¼n"
  """
  @spec text(String.t(), :latin1 | :utf8) :: String.t()
  def text(text, :utf8), do: text

  def text(text, :latin1) do
    case :unicode.characters_to_binary(text, :utf8, :latin1) do
      bytes when is_binary(bytes) -> if String.valid?(bytes), do: bytes, else: text
      _beyond_latin1 -> text
    end
  end
end
