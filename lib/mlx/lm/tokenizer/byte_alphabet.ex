defmodule Mlx.LM.Tokenizer.ByteAlphabet do
  @moduledoc false
  # The printable characters that stand for the 256 bytes in the tokens of a byte-level vocabulary.
  #
  # A byte that is a printable character of Latin-1 stands for itself; the others are the code points from 256 on, in order:
  # a space is written `Ġ` and a line feed `Ċ`.

  @printable [?!..?~, 0xA1..0xAC, 0xAE..0xFF] |> Enum.flat_map(&Enum.to_list/1)
  @others Enum.with_index(Enum.to_list(0..255) -- @printable, 256)

  @doc """
  The character of a byte.

      iex> Mlx.LM.Tokenizer.ByteAlphabet.character(?\\s)
      "Ġ"
  """
  @spec character(byte) :: String.t()
  for byte <- @printable, do: def(character(unquote(byte)), do: unquote(<<byte::utf8>>))
  for {byte, code} <- @others, do: def(character(unquote(byte)), do: unquote(<<code::utf8>>))

  @doc "Bytes as the characters that stand for them."
  @spec text(binary) :: String.t()
  def text(bytes), do: for(<<byte <- bytes>>, into: "", do: character(byte))

  @doc """
  The bytes that a token stands for, or `:error` when it has a character that stands for none.

      iex> Mlx.LM.Tokenizer.ByteAlphabet.bytes("Ġcafé")
      {:ok, " caf" <> <<0xE9>>}
      iex> Mlx.LM.Tokenizer.ByteAlphabet.bytes("a b")
      :error
  """
  @spec bytes(binary) :: {:ok, binary} | :error
  def bytes(token), do: bytes(token, <<>>)

  # The byte of each code point up to the last that stands for one, or nil.
  @last 255 + length(@others)
  @of_code List.to_tuple(
             for code <- 0..@last do
               if code in @printable,
                 do: code,
                 else: Enum.find_value(@others, fn {byte, other} -> other == code && byte end)
             end
           )

  defp bytes(<<code::utf8, rest::binary>>, bytes) when code <= @last do
    case elem(@of_code, code) do
      nil -> :error
      byte -> bytes(rest, <<bytes::binary, byte>>)
    end
  end

  defp bytes(<<>>, bytes), do: {:ok, bytes}
  defp bytes(_rest, _bytes), do: :error
end
