defmodule Mlx.LM.Grammar.CharacterClasses do
  @moduledoc false
  # The classes of characters of regular expressions as ranges of code points: `:narrow` ones, which are in the class in
  # ECMAScript and in Python, and `:wide` ones, which may be in it in one of them.

  alias Mlx.LM.Grammar.Expression
  alias Mlx.LM.Tokenizer.CharacterCategory

  of_categories = fn names ->
    bits = names |> Enum.map(&CharacterCategory.mask/1) |> Enum.reduce(&Bitwise.bor/2)

    # The planes between have no characters, and those behind them are for private use.
    0..0x3FFFF
    |> Enum.concat(0xE0000..0xEFFFF)
    |> Enum.reduce([], fn code, ranges ->
      case {CharacterCategory.in?(code, bits), ranges} do
        {false, ranges} -> ranges
        {true, [{low, high} | rest]} when high == code - 1 -> [{low, code} | rest]
        {true, ranges} -> [{code, code} | ranges]
      end
    end)
    |> Enum.reverse()
  end

  @wide_digits of_categories.(["Nd"])
  @wide_words of_categories.(["L", "M", "N", "Pc"])
  @wide_spaces Expression.union([{0x1C, 0x1F}, {0x85, 0x85}, {0xFEFF, 0xFEFF}, {?\t, ?\r} | of_categories.(["Z"])])

  @digits [{?0, ?9}]
  @words [{?0, ?9}, {?A, ?Z}, {?_, ?_}, {?a, ?z}]
  @spaces [{?\t, ?\r}, {?\s, ?\s}]

  @doc "What ends a line in any of the two."
  @spec line_breaks() :: Expression.ranges()
  def line_breaks, do: [{?\n, ?\n}, {?\r, ?\r}, {0x2028, 0x2029}]

  @doc "The class of a letter, such as that of `\\d`."
  @spec of(char(), :narrow | :wide) :: Expression.ranges()
  def of(?d, :narrow), do: @digits
  def of(?d, :wide), do: @wide_digits
  def of(?w, :narrow), do: @words
  def of(?w, :wide), do: @wide_words
  def of(?s, :narrow), do: @spaces
  def of(?s, :wide), do: @wide_spaces
  def of(?D, width), do: Expression.complement(of(?d, other(width)))
  def of(?W, width), do: Expression.complement(of(?w, other(width)))
  def of(?S, width), do: Expression.complement(of(?s, other(width)))

  defp other(:narrow), do: :wide
  defp other(:wide), do: :narrow
end
