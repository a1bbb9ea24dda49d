defmodule Mlx.LM.Tokenizer.Positions do
  @moduledoc false
  # Places of a text in bytes and in characters, by its places where bytes that are not UTF-8 are written as characters
  # (`LoneBytes`).

  import Mlx.LM.Tokenizer.CharacterSize

  @typedoc """
  The number of bytes of the text that places are those of, and where its bytes are: nil where each byte is a character, a
  binary of eight bytes for each of them otherwise.
  """
  @opaque t :: {non_neg_integer, binary | nil}

  @type range :: {non_neg_integer, non_neg_integer}

  @doc "The places of a text."
  @spec new(binary) :: t
  def new(text) do
    if ascii?(text), do: {byte_size(text), nil}, else: text |> table(String.valid?(text), 0, 0, <<>>) |> sized()
  end

  defp sized(table), do: {div(byte_size(table), 8), table}

  defp ascii?(<<byte, rest::binary>>) when byte < 128, do: ascii?(rest)
  defp ascii?(rest), do: rest == ""

  # A character that looks like a byte of a text that is not UTF-8 is written as four characters then.
  defp table(<<code::utf8, rest::binary>>, true, at, character, table),
    do: table(rest, true, at + size(code), character + 1, written(table, at, size(code), character))

  defp table(<<code::utf8, rest::binary>>, false, at, character, table) when code < 0x10FF80,
    do: table(rest, false, at + size(code), character + 1, written(table, at, size(code), character))

  defp table(<<_code::utf8, rest::binary>>, false, at, character, table) do
    table = Enum.reduce(0..3, table, &lone(&2, at + &1, character))
    table(rest, false, at + 4, character + 1, table)
  end

  defp table(<<_byte, rest::binary>>, false, at, character, table),
    do: table(rest, false, at + 1, character + 1, lone(table, at, character))

  defp table(<<>>, _valid, _at, _character, table), do: table

  defp written(table, at, size, character),
    do: for(byte <- at..(at + size - 1), into: table, do: <<byte::32, character::32>>)

  defp lone(table, at, character), do: <<table::binary, :binary.copy(<<at::32, character::32>>, 4)::binary>>

  @doc "A range in bytes, and the same in characters."
  @spec of(t, range) :: {range, range}
  def of({_size, nil}, range), do: {range, range}

  def of({size, table}, {from, to} = range) do
    if from >= size do
      {range, range}
    else
      {from_byte, from_character} = entry(table, from)

      {to_byte, to_character} =
        cond do
          to < size -> entry(table, to)
          to == size -> behind(entry(table, size - 1), 1)
          true -> behind({from_byte, from_character}, 2)
        end

      {{from_byte, to_byte}, {from_character, to_character}}
    end
  end

  # A place behind the text is two characters behind where the range begins, as in the reference.
  defp behind({byte, character}, count), do: {byte + count, character + count}

  defp entry(table, at) do
    <<byte::32, character::32>> = binary_part(table, 8 * at, 8)
    {byte, character}
  end
end
