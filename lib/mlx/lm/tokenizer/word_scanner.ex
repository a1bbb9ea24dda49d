defmodule Mlx.LM.Tokenizer.WordScanner do
  @moduledoc false
  # Cuts text into the words that byte-pair encoding never merges across.
  #
  # The reference pre-tokenizers are regular expressions. The two families of them that are known here are scanners, which
  # are linear in the text, take no offence at bytes that are not UTF-8 (each counts as one `:other` character), and don't
  # depend on the Unicode version of a regular expression library:
  #
  #   * `:words`, of GPT-2:
  #
  #         's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+
  #
  #     With `numbers: 1` every digit is first cut out on its own, so that what is around it ends there.
  #
  #   * `:lines`, of Llama 3, with `numbers` the most digits of a word:
  #
  #         (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|
  #         \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+

  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.CharacterClass

  @typedoc "How text is cut: the family, and the most digits of a word."
  @type t :: %{family: :words | :lines, numbers: pos_integer | :any}

  @gpt2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
  @llama3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" <>
            "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

  @known %{
    @gpt2 => %{family: :words, numbers: :any},
    @llama3 => %{family: :lines, numbers: 3},
    String.replace(@llama3, "{1,3}", "") => %{family: :lines, numbers: 1}
  }

  @doc "The kind that cuts as the regular expression of GPT-2 does."
  @spec gpt2() :: t
  def gpt2, do: @known[@gpt2]

  @doc "The kind that cuts as the regular expression of Llama 3 does, with the most digits of a word."
  @spec llama3(pos_integer) :: t
  def llama3(numbers), do: %{@known[@llama3] | numbers: numbers}

  @doc "The kind that cuts as a regular expression does, or nil."
  @spec known(String.t()) :: t | nil
  def known(regex), do: @known[regex]

  @doc """
  Cuts `text` into words, which make the text when they are joined.

      iex> smollm = %{Mlx.LM.Tokenizer.WordScanner.gpt2() | numbers: 1}
      iex> Mlx.LM.Tokenizer.WordScanner.split("it's  12 o'clock!\\n", smollm)
      ["it", "'s", "  ", "1", "2", " o", "'", "clock", "!", "\\n"]
  """
  @spec split(binary, t) :: [binary]
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

  defp spaces(text, numbers) do
    case space_run(text, 0, 0, 0) do
      {size, _last, _line, :end} -> size
      {size, _last, _line, :number} when numbers == 1 -> size
      {size, last, _line, _class} -> all_but_last(size, last)
    end
  end

  # A character that is no letter, number or line break may lead a word of letters; a space may lead one of others.
  defp led_word(<<first, rest::binary>> = text, class, size) when first not in [?\r, ?\n] do
    rest = if size == 1, do: rest, else: binary_part(text, size, byte_size(text) - size)

    case {class, peek(rest)} do
      {_class, {:letter, next}} -> run(text, size + next, :letter)
      {:other, _next} -> text |> run(size, :other) |> line_breaks(text)
      {:space, {:other, next}} when first == ?\s -> text |> run(1 + next, :other) |> line_breaks(text)
      {:space, _next} -> lines(text)
    end
  end

  defp led_word(text, :space, _size), do: lines(text)

  defp lines(text) do
    case space_run(text, 0, 0, 0) do
      {_size, _last, line, _class} when line > 0 -> line
      {size, _last, _line, :end} -> size
      {size, last, _line, _class} -> all_but_last(size, last)
    end
  end

  defp all_but_last(size, size), do: size
  defp all_but_last(size, last), do: size - last

  defp line_breaks(size, text) do
    case text do
      <<_word::binary-size(size), break, _rest::binary>> when break in [?\r, ?\n] -> line_breaks(size + 1, text)
      _other -> size
    end
  end

  defp digits(_text, size, 0), do: size

  defp digits(text, size, left) do
    <<_digits::binary-size(size), rest::binary>> = text

    case peek(rest) do
      {:number, next} -> digits(text, size + next, left - 1)
      _other -> size
    end
  end

  for {name, letters} <- [
        contraction: fn letter -> [letter] end,
        any_case_contraction: fn letter -> [letter, letter - 32] end
      ] do
    for {first, second} <- [{?r, ?e}, {?v, ?e}, {?l, ?l}], first <- letters.(first), second <- letters.(second) do
      defp unquote(name)(<<?', unquote(first), unquote(second), _rest::binary>>), do: 3
    end

    for letter <- ~c"stmd", letter <- letters.(letter) do
      defp unquote(name)(<<?', unquote(letter), _rest::binary>>), do: 2
    end
  end

  # The long s is an s where case does not matter.
  defp any_case_contraction(<<?', ?ſ::utf8, _rest::binary>>), do: 3
  defp any_case_contraction(_text), do: 0
  defp contraction(_text), do: 0

  # The class and the size of the first character.
  defp peek(<<code, _rest::binary>>) when code < 128, do: {CharacterClass.of(code), 1}
  defp peek(<<code::utf8, _rest::binary>>), do: {CharacterClass.of(code), size(code)}
  defp peek(<<_byte, _rest::binary>>), do: {:other, 1}
  defp peek(<<>>), do: :end

  # The size of `text` up to where the run of `class` that goes on at `from` ends.
  defp run(text, from, class) do
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
