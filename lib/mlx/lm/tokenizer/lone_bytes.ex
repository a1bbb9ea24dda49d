defmodule Mlx.LM.Tokenizer.LoneBytes do
  @moduledoc false
  # Bytes that are not UTF-8, as characters, so that everything that works on characters takes any bytes.
  #
  # Such a byte becomes the private character `U+10FF00` plus the byte. A character of the text that looks like that is
  # taken apart into its four bytes, so that each text comes back. Only texts that are not UTF-8 are written like that.

  @doc "The text as UTF-8, and whether bytes of it are written as characters."
  @spec hide(binary) :: {String.t(), boolean}
  def hide(text) do
    if String.valid?(text), do: {text, false}, else: {hide(text, []), true}
  end

  defp hide(<<code::utf8, rest::binary>>, hidden) when code < 0x10FF80, do: hide(rest, [hidden | <<code::utf8>>])
  defp hide(<<byte, rest::binary>>, hidden), do: hide(rest, [hidden | <<0x10FF00 + byte::utf8>>])
  defp hide(<<>>, hidden), do: IO.iodata_to_binary(hidden)

  @doc """
  The bytes of a text that was hidden.

      iex> {text, true} = Mlx.LM.Tokenizer.LoneBytes.hide(<<"é", 0xFF>>)
      iex> {String.valid?(text), Mlx.LM.Tokenizer.LoneBytes.show(text)}
      {true, <<"é", 0xFF>>}
  """
  @spec show(String.t()) :: binary
  def show(text) do
    for <<code::utf8 <- text>>, into: <<>>, do: if(code >= 0x10FF80, do: <<code - 0x10FF00>>, else: <<code::utf8>>)
  end
end
