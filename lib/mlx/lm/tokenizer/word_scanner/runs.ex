defmodule Mlx.LM.Tokenizer.WordScanner.Runs do
  @moduledoc false
  # How far a text goes on with characters of a class, and what a word of white space is.

  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.CharacterClass

  @doc "The class and the size of the first character."
  @spec peek(binary) :: {CharacterClass.t(), 1..4} | :end
  def peek(<<code, _rest::binary>>) when code < 128, do: {CharacterClass.of(code), 1}
  def peek(<<code::utf8, _rest::binary>>), do: {CharacterClass.of(code), size(code)}
  def peek(<<_byte, _rest::binary>>), do: {:other, 1}
  def peek(<<>>), do: :end

  @doc "The size of a text up to where the run of a class that goes on at `from` ends."
  @spec run(binary, non_neg_integer, CharacterClass.t()) :: non_neg_integer
  def run(text, from, class) do
    <<_before::binary-size(from), rest::binary>> = text
    count(rest, from, class)
  end

  defp count(<<code, rest::binary>>, size, class) when code < 128 do
    if CharacterClass.of(code) == class, do: count(rest, size + 1, class), else: size
  end

  defp count(<<code::utf8, rest::binary>>, size, class) do
    if CharacterClass.of(code) == class, do: count(rest, size + size(code), class), else: size
  end

  defp count(<<_byte, rest::binary>>, size, :other), do: count(rest, size + 1, :other)
  defp count(_rest, size, _class), do: size

  @doc "The size of a text up to where numbers that go on at `size` end, of which there are at most `left`."
  @spec digits(binary, non_neg_integer, non_neg_integer) :: non_neg_integer
  def digits(_text, size, 0), do: size

  def digits(text, size, left) do
    <<_digits::binary-size(size), rest::binary>> = text

    case peek(rest) do
      {:number, next} -> digits(text, size + next, left - 1)
      _other -> size
    end
  end

  @doc "The size of a text up to where the line breaks that go on at `size` end, with which slashes may go."
  @spec line_breaks(binary, non_neg_integer, boolean) :: non_neg_integer
  def line_breaks(text, size, slashes) do
    case text do
      <<_word::binary-size(size), break, _rest::binary>> when break in [?\r, ?\n] or (slashes and break == ?/) ->
        line_breaks(text, size + 1, slashes)

      _other ->
        size
    end
  end

  @doc """
  The size of a word of white space that a text begins with: all, or all but what may lead the next word. A number does not
  take any where words of numbers have one digit.
  """
  @spec spaces(binary, pos_integer | :any) :: pos_integer
  def spaces(text, numbers) do
    case space_run(text, 0, 0, 0) do
      {size, _last, _line, :end} -> size
      {size, _last, _line, :number} when numbers == 1 -> size
      {size, last, _line, _class} -> all_but_last(size, last)
    end
  end

  @doc "The same, where a word of white space ends with its last line break."
  @spec lines(binary) :: pos_integer
  def lines(text) do
    case space_run(text, 0, 0, 0) do
      {_size, _last, line, _class} when line > 0 -> line
      {size, _last, _line, :end} -> size
      {size, last, _line, _class} -> all_but_last(size, last)
    end
  end

  defp all_but_last(size, size), do: size
  defp all_but_last(size, last), do: size - last

  # White space: its size, that of its last character, the size up to its last line break, and what comes behind.
  defp space_run(<<break, rest::binary>>, size, _last, _line) when break in [?\r, ?\n] do
    space_run(rest, size + 1, 1, size + 1)
  end

  defp space_run(<<?\s, rest::binary>>, size, _last, line), do: space_run(rest, size + 1, 1, line)

  defp space_run(text, size, last, line) do
    case peek(text) do
      {:space, next} ->
        <<_space::binary-size(next), rest::binary>> = text
        space_run(rest, size + next, next, line)

      {class, _next} ->
        {size, last, line, class}

      :end ->
        {size, last, line, :end}
    end
  end
end
