defmodule Mlx.LM.StopStrings do
  @moduledoc """
  Finds the strings that end an answer in text that comes in pieces. Text that may be the start of one is held back.

      iex> stop = Mlx.LM.StopStrings.new(["END"])
      iex> {:continue, "one ", stop} = Mlx.LM.StopStrings.push(stop, "one E")
      iex> Mlx.LM.StopStrings.push(stop, "ND two")
      {:stop, ""}
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{ArgumentType, Given}

  @enforce_keys [:strings]
  defstruct [:strings, held: ""]

  @type t :: %__MODULE__{strings: [String.t()], held: String.t()}

  @doc "A search for any of the strings. Raises `ArgumentError` for what is no list of strings, or an empty one."
  @spec new([String.t()]) :: t()
  def new(strings) do
    unless ArgumentType.list?(strings) and Enum.all?(strings, &(is_binary(&1) and &1 != "")) do
      raise ArgumentError,
            "Mlx.LM.StopStrings.new: expected :stop to be a list of strings that are not empty, got: #{Given.text(strings)}"
    end

    %__MODULE__{strings: strings}
  end

  @doc "Takes the next piece of text; gives the text before a stop string, or that which can't be the start of one."
  @spec push(t(), String.t()) :: {:continue, String.t(), t()} | {:stop, String.t()}
  def push(%__MODULE__{strings: []} = stop, text) when is_binary(text), do: {:continue, text, stop}

  def push(%__MODULE__{strings: strings, held: held} = stop, text) when is_binary(text) do
    text = held <> text

    case :binary.match(text, strings) do
      {start, _length} ->
        {:stop, binary_part(text, 0, start)}

      :nomatch ->
        size = byte_size(text) - held_size(text, strings)
        <<free::binary-size(size), held::binary>> = text
        {:continue, free, %{stop | held: held}}
    end
  end

  @doc "The text that is held back, when no more follows."
  @spec flush(t()) :: String.t()
  def flush(%__MODULE__{held: held}), do: held

  # The size of the longest end of the text that a stop string starts with.
  defp held_size(text, strings) do
    longest = strings |> Enum.map(&(byte_size(&1) - 1)) |> Enum.max()

    Enum.find(min(longest, byte_size(text))..1//-1, 0, fn size ->
      ending = binary_part(text, byte_size(text), -size)
      Enum.any?(strings, &String.starts_with?(&1, ending))
    end)
  end
end
