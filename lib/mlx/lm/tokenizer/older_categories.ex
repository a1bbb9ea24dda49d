defmodule Mlx.LM.Tokenizer.OlderCategories do
  @moduledoc false
  # Classes of characters as older Unicode versions have them, on which the normalizers and pre-tokenizers of BERT rest:
  # characters that cannot be seen, nonspacing marks and punctuation of Unicode 8, and marks of Unicode 9.
  #
  # The file beside this one has the characters for which a class differs from that of `CharacterCategory`.

  import Bitwise

  alias Mlx.LM.Tokenizer.CharacterCategory

  @file_of_ranges Path.join(__DIR__, "older_categories.txt")
  @external_resource @file_of_ranges

  @masks %{
    "other" => CharacterCategory.mask("Cc") ||| CharacterCategory.mask("Cf") ||| CharacterCategory.mask("Co"),
    "nonspacing" => CharacterCategory.mask("Mn"),
    "punctuation" => CharacterCategory.mask("P"),
    "mark" => CharacterCategory.mask("M")
  }

  for line <- File.stream!(@file_of_ranges), [name | ranges] = String.split(line) do
    ranges =
      for range <- ranges do
        [from | to] = range |> String.split("-") |> Enum.map(&String.to_integer(&1, 16))
        {from, List.first(to, from)}
      end

    @doc "Whether a character is in the class."
    @spec unquote(:"#{name}?")(char) :: boolean
    def unquote(:"#{name}?")(code) do
      CharacterCategory.in?(code, unquote(@masks[name])) !=
        (code > 127 and among?(code, unquote(Macro.escape(List.to_tuple(ranges)))))
    end
  end

  defp among?(code, ranges), do: search(code, ranges, 0, tuple_size(ranges) - 1)

  defp search(_code, _ranges, low, high) when low > high, do: false

  defp search(code, ranges, low, high) do
    middle = (low + high) >>> 1

    case elem(ranges, middle) do
      {from, _to} when code < from -> search(code, ranges, low, middle - 1)
      {_from, to} when code > to -> search(code, ranges, middle + 1, high)
      _inside -> true
    end
  end
end
