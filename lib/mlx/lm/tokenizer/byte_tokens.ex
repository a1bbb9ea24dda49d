defmodule Mlx.LM.Tokenizer.ByteTokens do
  @moduledoc false
  # The tokens `<0x00>` to `<0xFF>`, which stand for bytes that no other token has.

  @doc "The token of each byte in a vocabulary, or nil."
  @spec new(%{String.t() => non_neg_integer}) :: tuple
  def new(vocabulary), do: List.to_tuple(for byte <- 0..255, do: vocabulary[name(byte)])

  @doc """
  The token of a byte.

      iex> Mlx.LM.Tokenizer.ByteTokens.name(10)
      "<0x0A>"
  """
  @spec name(byte) :: String.t()
  def name(byte), do: "<0x#{Base.encode16(<<byte>>)}>"

  @doc "The byte of a token, or nil."
  @spec byte(String.t()) :: byte | nil
  def byte(<<"<0x", digits::binary-size(2), ">">>) do
    case Base.decode16(digits, case: :mixed) do
      {:ok, <<byte>>} -> byte
      :error -> plus(digits)
    end
  end

  def byte(_token), do: nil

  # The reference reads a digit with a plus as a number, too.
  defp plus(<<?+, digit>>) do
    case Base.decode16(<<?0, digit>>, case: :mixed) do
      {:ok, <<byte>>} -> byte
      :error -> nil
    end
  end

  defp plus(_digits), do: nil

  @doc "The tokens of bytes, or nil when there is not one for each."
  @spec of(tuple | nil, binary) :: [non_neg_integer] | nil
  def of(nil, _bytes), do: nil

  def of(tokens, bytes) do
    ids = for <<byte <- bytes>>, do: elem(tokens, byte)
    if nil in ids, do: nil, else: ids
  end
end
