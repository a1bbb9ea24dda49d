defmodule Mlx.LM.Tokenizer.WordScanner.KindWord do
  @moduledoc false
  # The words of the families `:cases` and `:marks`, which tell letters of two cases and marks apart, or take marks for letters.
  #
  # In a word of the family `:cases`, letters of upper case come before those of lower case; letters without case and marks may
  # be everywhere. The regular expression wants a letter that is not of upper case at the end, and only then takes letters of
  # upper case alone. So letters of upper case behind the last letter without case begin the next word.

  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.{CharacterClass, WordScanner}
  alias Mlx.LM.Tokenizer.WordScanner.PlainWord

  @letters [:lower, :upper, :caseless, :mark]

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
  defp word(text, %{family: :cases} = kind) do
    case peek(text) do
      {:number, size} -> PlainWord.digits(text, size, kind.numbers - 1)
      {letter, _size} when letter in @letters -> text |> front(0, nil) |> with_contraction(text, kind)
      {other, size} -> led_by(text, other, size, kind)
    end
  end

  defp word(text, %{family: :marks, numbers: numbers}) do
    with 0 <- PlainWord.any_case_contraction(text) do
      case peek(text) do
        {:number, size} -> PlainWord.digits(text, size, numbers - 1)
        {letter, size} when letter in @letters -> letters(behind(text, size), size)
        {other, size} -> led_by(text, other, size)
      end
    end
  end

  # A character that is no letter, number or line break may lead a word of letters; a space may lead one of others.

  defp led_by(<<break, _rest::binary>> = text, :space, _size, _kind) when break in [?\r, ?\n], do: PlainWord.lines(text)

  defp led_by(text, other, size, kind) do
    case text |> behind(size) |> front(size, nil) do
      ^size when other == :other -> PlainWord.line_breaks(text, PlainWord.run(text, size, :other), true)
      ^size -> others_or_lines(text, &PlainWord.line_breaks(text, PlainWord.run(text, &1, :other), true))
      word -> with_contraction(word, text, kind)
    end
  end

  defp led_by(<<break, _rest::binary>> = text, :space, _size) when break in [?\r, ?\n], do: PlainWord.lines(text)

  defp led_by(text, other, size) do
    rest = behind(text, size)

    case letters(rest, size) do
      ^size when other == :other -> PlainWord.line_breaks(text, others(rest, size), false)
      ^size -> others_or_lines(text, &PlainWord.line_breaks(text, others(behind(text, &1), &1), false))
      word -> word
    end
  end

  defp others_or_lines(<<?\s, rest::binary>> = text, others) do
    case peek(rest) do
      {:other, size} -> others.(1 + size)
      _other -> PlainWord.lines(text)
    end
  end

  defp others_or_lines(text, _others), do: PlainWord.lines(text)

  defp behind(text, size), do: binary_part(text, size, byte_size(text) - size)

  defp with_contraction(size, text, %{contractions: true}) do
    case text do
      <<_word::binary-size(size), ?', _rest::binary>> ->
        size + (text |> behind(size) |> PlainWord.any_case_contraction())

      _other ->
        size
    end
  end

  defp with_contraction(size, _text, _kind), do: size

  # The size of a word up to its end. `last` is that up to the last letter without case.
  defp front(<<code, rest::binary>>, size, last) when code in ?A..?Z, do: front(rest, size + 1, last)
  defp front(<<code, rest::binary>>, size, _last) when code in ?a..?z, do: back(rest, size + 1)
  defp front(<<code, _rest::binary>>, size, last) when code < 128, do: last || size

  defp front(<<code::utf8, rest::binary>>, size, last) do
    next = size + size(code)

    case CharacterClass.kind(code) do
      :upper -> front(rest, next, last)
      :lower -> back(rest, next)
      kind when kind in [:caseless, :mark] -> front(rest, next, next)
      _other -> last || size
    end
  end

  defp front(_rest, size, last), do: last || size

  # The same behind a letter of lower case.
  defp back(<<code, rest::binary>>, size) when code in ?a..?z, do: back(rest, size + 1)
  defp back(<<code, _rest::binary>>, size) when code < 128, do: size

  defp back(<<code::utf8, rest::binary>>, size) do
    if CharacterClass.kind(code) in [:lower, :caseless, :mark], do: back(rest, size + size(code)), else: size
  end

  defp back(_rest, size), do: size

  # The same for letters of all kinds.
  defp letters(<<code, rest::binary>>, size) when code in ?a..?z or code in ?A..?Z, do: letters(rest, size + 1)
  defp letters(<<code, _rest::binary>>, size) when code < 128, do: size

  defp letters(<<code::utf8, rest::binary>>, size) do
    if CharacterClass.kind(code) in @letters, do: letters(rest, size + size(code)), else: size
  end

  defp letters(_rest, size), do: size

  # The same for other characters, of which marks are none.
  defp others(<<code::utf8, rest::binary>>, size) do
    if CharacterClass.kind(code) == :other, do: others(rest, size + size(code)), else: size
  end

  defp others(<<_byte, rest::binary>>, size), do: others(rest, size + 1)
  defp others(<<>>, size), do: size

  # The kind and the size of the first character.
  defp peek(<<code, _rest::binary>>) when code < 128, do: {CharacterClass.kind(code), 1}
  defp peek(<<code::utf8, _rest::binary>>), do: {CharacterClass.kind(code), size(code)}
  defp peek(<<_byte, _rest::binary>>), do: {:other, 1}
  defp peek(<<>>), do: :end
end
