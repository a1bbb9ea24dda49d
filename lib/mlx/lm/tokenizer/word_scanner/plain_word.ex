defmodule Mlx.LM.Tokenizer.WordScanner.PlainWord do
  @moduledoc false
  # The words of the families `:words` and `:lines`, which take letters as one class, and the parts of them that other families
  # have, too. All of it is one module because a call of another one costs as much as a short word.

  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.{CharacterClass, WordScanner}

  @doc "The words of a text."
  @spec split(binary, WordScanner.t()) :: [binary]
  def split(text, kind), do: words(text, kind, [])

  defp words(<<>>, _kind, words), do: Enum.reverse(words)

  defp words(text, kind, words) do
    size = word(text, kind)
    <<word::binary-size(size), rest::binary>> = text
    words(rest, kind, [word | words])
  end

  # The size in bytes of the first word.
  defp word(text, %{family: :words, numbers: numbers}) do
    with 0 <- contraction(text) do
      case peek(text) do
        {:space, _size} -> spaces_or_word(text, numbers)
        {:number, size} when numbers == 1 -> size
        {class, size} -> run(text, size, class)
      end
    end
  end

  defp word(text, %{family: :lines, numbers: numbers}) do
    with 0 <- any_case_contraction(text) do
      case peek(text) do
        {:letter, size} -> run(text, size, :letter)
        {:number, size} -> digits(text, size, numbers - 1)
        {class, size} -> led_word(text, class, size)
      end
    end
  end

  # A space belongs to the word behind it. Of more of them the last does; a digit that is cut out takes none.
  defp spaces_or_word(<<?\s, rest::binary>> = text, numbers) do
    case peek(rest) do
      {:number, _size} when numbers == 1 -> 1
      {class, size} when class != :space -> run(text, 1 + size, class)
      _other -> spaces(text, numbers)
    end
  end

  defp spaces_or_word(text, numbers), do: spaces(text, numbers)

  # A character that is no letter, number or line break may lead a word of letters; a space may lead one of others.
  defp led_word(<<first, rest::binary>> = text, class, size) when first not in [?\r, ?\n] do
    rest = if size == 1, do: rest, else: binary_part(text, size, byte_size(text) - size)

    case {class, peek(rest)} do
      {_class, {:letter, next}} -> run(text, size + next, :letter)
      {:other, _next} -> line_breaks(text, run(text, size, :other), false)
      {:space, {:other, next}} when first == ?\s -> line_breaks(text, run(text, 1 + next, :other), false)
      {:space, _next} -> lines(text)
    end
  end

  defp led_word(text, :space, _size), do: lines(text)

  for {name, letters} <- [
        contraction: fn letter -> [letter] end,
        any_case_contraction: fn letter -> [letter, letter - 32] end
      ] do
    @doc "The size of the #{String.replace(to_string(name), "_", " ")} that a text begins with, such as `'ll`, or 0."
    @spec unquote(name)(binary) :: 0 | 2 | 3
    def unquote(name)(text)

    for {first, second} <- [{?r, ?e}, {?v, ?e}, {?l, ?l}], first <- letters.(first), second <- letters.(second) do
      def unquote(name)(<<?', unquote(first), unquote(second), _rest::binary>>), do: 3
    end

    for letter <- ~c"stmd", letter <- letters.(letter) do
      def unquote(name)(<<?', unquote(letter), _rest::binary>>), do: 2
    end

    # The long s is an s where case does not matter.
    if name == :any_case_contraction do
      def any_case_contraction(<<?', ?ſ::utf8, _rest::binary>>), do: 3
    end

    def unquote(name)(_text), do: 0
  end

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
