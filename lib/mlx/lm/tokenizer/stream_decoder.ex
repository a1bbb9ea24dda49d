defmodule Mlx.LM.Tokenizer.StreamDecoder do
  @moduledoc false
  # Decodes tokens one at a time. What it gives never ends inside a character: bytes that may become one wait for the next
  # token. All that it gave, joined, is what `Mlx.LM.Tokenizer.decode/3` gives for all tokens at once.

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{Decoder, Decoding}

  @enforce_keys [:tokenizer, :special, :state]
  defstruct @enforce_keys

  @typep state :: Decoder.state()

  @type t :: %__MODULE__{tokenizer: Tokenizer.t(), special: boolean | MapSet.t(Tokenizer.id()), state: state}

  @doc """
  A decoder that has seen no token. Takes the options of `Mlx.LM.Tokenizer.decode/3`. `:special` may be a list, too: the
  texts of the special tokens that are written.
  """
  @spec new(Tokenizer.t(), keyword) :: t
  def new(tokenizer, options \\ [])

  def new(%Tokenizer{} = tokenizer, options) do
    [special] = Options.without_stream(options, :"LM.Tokenizer.StreamDecoder.new", special: true)
    %__MODULE__{tokenizer: tokenizer, special: written_ids(special, tokenizer), state: Decoder.start(tokenizer.decoder)}
  end

  defp written_ids(special, _tokenizer) when is_boolean(special), do: special

  defp written_ids(texts, tokenizer) do
    for text <- texts, id = Tokenizer.id(tokenizer, text), into: MapSet.new(), do: id
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

  defp written?(special, _id) when is_boolean(special), do: special
  defp written?(ids, id), do: id in ids

  defp written(decoder, id) do
    CalledFunction.name("Mlx.LM.Tokenizer.StreamDecoder.push", ["Mlx.LM.Tokenizer.decode"], fn ->
      Decoding.written(decoder.tokenizer, id, written?(decoder.special, id), :decode)
    end)
  end

  @doc "The text of the bytes that still wait, when no token follows."
  @spec flush(t) :: String.t()
  def flush(%__MODULE__{state: state}), do: state |> Decoder.flush() |> IO.iodata_to_binary()
end
