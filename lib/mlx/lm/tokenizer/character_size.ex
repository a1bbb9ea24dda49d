defmodule Mlx.LM.Tokenizer.CharacterSize do
  @moduledoc false
  # The number of bytes of a character in UTF-8.

  @doc """
  The size of a code point.

      iex> Enum.map(~c"aé中😀", &Mlx.LM.Tokenizer.CharacterSize.size/1)
      [1, 2, 3, 4]
  """
  @spec size(char) :: 1..4
  def size(code) when code < 0x80, do: 1
  def size(code) when code < 0x800, do: 2
  def size(code) when code < 0x10000, do: 3
  def size(_code), do: 4
end
