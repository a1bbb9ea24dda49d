defmodule Mlx.LM.Tokenizer.Pattern.CharacterSet do
  @moduledoc false
  # Sets of characters of regular expressions. A set answers for ASCII from a table, and else by its definition.

  alias Mlx.LM.Tokenizer.{CharacterCategory, OlderCategories, Scripts}

  @typedoc """
  What is in a set: a range, categories (as `CharacterCategory.mask/1` gives them), punctuation of Unicode 8, a script, everything of several or
  what all of several have, all but something, and what differs from a member only in case.
  """
  @type definition ::
          {:range, char, char}
          | {:categories, non_neg_integer}
          | :older_punctuation
          | {:script, String.t()}
          | {:any, [definition]}
          | {:all, [definition]}
          | {:not, definition}
          | {:fold, definition}

  @opaque t :: {binary, definition}

  @spaces [{0x09, 0x0D}, {0x20, 0x20}, {0x85, 0x85}, {0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}] ++
            [{0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}]
  @space {:any, for({from, to} <- @spaces, do: {:range, from, to})}

  # Letters in circles.
  @circled for {from, to} <- [{0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}],
               do: {:range, from, to}

  # Oniguruma takes digits and fractions of Latin-1 for characters of words, but not in brackets.
  @latin1 for {from, to} <- [{0xB2, 0xB3}, {0xB9, 0xB9}, {0xBC, 0xBE}], do: {:range, from, to}

  @doc "The definition of white space."
  @spec space() :: definition
  def space, do: @space

  @doc "The definition of `\\w`, which is another in brackets."
  @spec word(:alone | :in_brackets) :: definition
  def word(:in_brackets), do: {:any, Enum.map(~w(L M Nd Nl Pc), &categories/1) ++ @circled}
  def word(:alone), do: {:any, [word(:in_brackets) | @latin1]}

  @doc "The definition of decimal digits."
  @spec digit() :: definition
  def digit, do: categories("Nd")

  @doc "The definition of the categories of a name."
  @spec categories(String.t()) :: definition
  def categories(name), do: {:categories, CharacterCategory.mask(name)}

  @doc "A set by its definition."
  @spec new(definition) :: t
  def new(definition) do
    {for(code <- 0..127, into: <<>>, do: if(defined?(definition, code), do: <<1>>, else: <<0>>)), definition}
  end

  @doc "Whether a code point is in a set."
  @spec member?(t, char) :: boolean
  def member?({ascii, _definition}, code) when code < 128, do: :binary.at(ascii, code) == 1
  def member?({_ascii, definition}, code), do: defined?(definition, code)

  defp defined?({:range, from, to}, code), do: code >= from and code <= to
  defp defined?({:categories, bits}, code), do: CharacterCategory.in?(code, bits)
  defp defined?(:older_punctuation, code), do: OlderCategories.punctuation?(code)
  defp defined?({:script, name}, code), do: Scripts.of(code) == name
  defp defined?({:any, definitions}, code), do: any?(definitions, code)
  defp defined?({:all, definitions}, code), do: all?(definitions, code)
  defp defined?({:not, definition}, code), do: not defined?(definition, code)
  defp defined?({:fold, definition}, code), do: Enum.any?(cases(code), &defined?(definition, &1))

  defp any?([definition | rest], code), do: defined?(definition, code) or any?(rest, code)
  defp any?([], _code), do: false

  defp all?([definition | rest], code), do: defined?(definition, code) and all?(rest, code)
  defp all?([], _code), do: true

  # The forms of a character in other cases, as far as they are one character.
  defp cases(code) do
    lower = one(:unicode_util.lowercase([code]), code)
    folded = one(:unicode_util.casefold([code]), code)

    Enum.uniq(
      [code, lower, folded, one(:unicode_util.uppercase([code]), code), one(:unicode_util.uppercase([folded]), code)] ++
        back(folded)
    )
  end

  # Characters that fold to one of ASCII.
  defp back(?s), do: [0x17F]
  defp back(?k), do: [0x212A]
  defp back(_code), do: []

  defp one([code], _other) when is_integer(code), do: code
  defp one([code | []], _other), do: code
  defp one(_several, other), do: other
end
