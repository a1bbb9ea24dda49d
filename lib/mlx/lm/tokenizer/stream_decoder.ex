defmodule Mlx.LM.Tokenizer.StreamDecoder do
  @moduledoc false
  # Decodes tokens one at a time. What it gives never ends inside a character: bytes that may become one wait for the next
  # token. All that it gave, joined, is what `Mlx.LM.Tokenizer.decode/3` gives for all tokens at once.

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.LM.Tokenizer

  @enforce_keys [:tokenizer, :options, :waiting]
  defstruct @enforce_keys

  @type t :: %__MODULE__{tokenizer: Tokenizer.t(), options: keyword, waiting: binary}

  @doc "A decoder that has seen no token. Takes the options of `Mlx.LM.Tokenizer.decode/3`."
  @spec new(Tokenizer.t(), keyword) :: t
  def new(tokenizer, options \\ [])

  def new(%Tokenizer{} = tokenizer, options) do
    options = Options.complete(options, :"LM.Tokenizer.StreamDecoder.new", special: true)
    %__MODULE__{tokenizer: tokenizer, options: options, waiting: ""}
  end

  @doc "Takes the next token; gives the text that is now complete, which may be empty, and the decoder that goes on."
  @spec push(t, Tokenizer.id()) :: {String.t(), t}
  def push(%__MODULE__{} = decoder, id) do
    bytes = decoder.waiting <> bytes(decoder, id)
    complete = byte_size(bytes) - unfinished(bytes)
    <<text::binary-size(complete), waiting::binary>> = bytes
    {String.replace_invalid(text), %{decoder | waiting: waiting}}
  end

  defp bytes(decoder, id) do
    CalledFunction.name("Mlx.LM.Tokenizer.StreamDecoder.push", ["Mlx.LM.Tokenizer.bytes"], fn ->
      Tokenizer.bytes(decoder.tokenizer, id, decoder.options)
    end)
  end

  @doc "The text of the bytes that still wait, when no token follows."
  @spec flush(t) :: String.t()
  def flush(%__MODULE__{waiting: waiting}), do: String.replace_invalid(waiting)

  # The size of the start of a character at the end of `bytes`.
  defp unfinished(bytes) do
    Enum.find(min(3, byte_size(bytes))..1//-1, 0, fn size ->
      start?(binary_part(bytes, byte_size(bytes), -size))
    end)
  end

  # The proper starts of well-formed characters.
  defguardp continues(byte) when byte in 0x80..0xBF

  defp start?(<<lead>>), do: lead in 0xC2..0xF4
  defp start?(<<0xE0, byte>>), do: byte in 0xA0..0xBF
  defp start?(<<0xED, byte>>), do: byte in 0x80..0x9F
  defp start?(<<0xF0, byte>>), do: byte in 0x90..0xBF
  defp start?(<<0xF4, byte>>), do: byte in 0x80..0x8F
  defp start?(<<lead, byte>>) when continues(byte), do: lead in 0xE1..0xEF or lead in 0xF1..0xF3
  defp start?(<<lead, second, byte>>) when continues(byte), do: lead >= 0xF0 and start?(<<lead, second>>)
  defp start?(_bytes), do: false
end
