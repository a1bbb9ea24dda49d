defmodule Mlx.LM.Tokenizer.StreamDecoder do
  @moduledoc false
  # Decodes tokens one at a time. What it gives never ends inside a character: bytes that may become one wait for the next
  # token. All that it gave, joined, is what `Mlx.LM.Tokenizer.decode/3` gives for all tokens at once.

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.Decoder

  @enforce_keys [:tokenizer, :special, :keep, :state]
  defstruct @enforce_keys

  @typep state :: Decoder.state()

  @type t :: %__MODULE__{tokenizer: Tokenizer.t(), special: boolean, keep: MapSet.t(), state: state}

  @doc """
  A decoder that has seen no token. Takes the options of `Mlx.LM.Tokenizer.decode/3`, and `:keep`, the texts of special tokens
  that are written with `special: false`, too.
  """
  @spec new(Tokenizer.t(), keyword) :: t
  def new(tokenizer, options \\ [])

  def new(%Tokenizer{} = tokenizer, options) do
    [special, keep] = Options.without_stream(options, :"LM.Tokenizer.StreamDecoder.new", special: true, keep: [])
    keep = for text <- keep, id = Tokenizer.id(tokenizer, text), into: MapSet.new(), do: id
    %__MODULE__{tokenizer: tokenizer, special: special, keep: keep, state: Decoder.start(tokenizer.decoder)}
  end

  @doc "Takes the next token; gives the text that is now complete, which may be empty, and the decoder that goes on."
  @spec push(t, Tokenizer.id()) :: {String.t(), t}
  def push(%__MODULE__{} = decoder, id) do
    case written(decoder, id) do
      nil ->
        {"", decoder}

      token ->
        {text, state} = Decoder.push(decoder.state, token)
        {IO.iodata_to_binary(text), %{decoder | state: state}}
    end
  end

  defp written(decoder, id) do
    CalledFunction.name("Mlx.LM.Tokenizer.StreamDecoder.push", ["Mlx.LM.Tokenizer.decode"], fn ->
      Tokenizer.written(decoder.tokenizer, id, decoder.special or id in decoder.keep, :decode)
    end)
  end

  @doc "The text of the bytes that still wait, when no token follows."
  @spec flush(t) :: String.t()
  def flush(%__MODULE__{state: state}), do: state |> Decoder.flush() |> IO.iodata_to_binary()
end
