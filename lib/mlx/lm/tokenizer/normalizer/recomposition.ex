defmodule Mlx.LM.Tokenizer.Normalizer.Recomposition do
  @moduledoc false
  # Unicode's normal forms character by character, so that it is known which characters of the text each new one stands for.
  #
  # `Composition` makes the same text in less time.

  alias Mlx.LM.Tokenizer.Aligned

  @decompositions %{
    nfc: &:unicode.characters_to_nfd_list/1,
    nfd: &:unicode.characters_to_nfd_list/1,
    nfkc: &:unicode.characters_to_nfkd_list/1,
    nfkd: &:unicode.characters_to_nfkd_list/1
  }

  @doc "The characters of a text in a normal form."
  @spec changes(String.t(), :nfc | :nfd | :nfkc | :nfkd) :: [Aligned.change()]
  def changes(text, form) do
    decomposed = text |> decomposed(@decompositions[form], []) |> Enum.reverse() |> ordered([], [])

    if form in [:nfc, :nfkc],
      do: composed(decomposed),
      else: for({code, change, _class} <- decomposed, do: {code, change})
  end

  # Characters with their changes and combining classes, the last first.
  defp decomposed(<<code, rest::binary>>, decompose, done) when code < 0x80,
    do: decomposed(rest, decompose, [{code, 0, 0} | done])

  defp decomposed(<<code::utf8, rest::binary>>, decompose, done) do
    [first | others] = decompose.([code])
    done = [{first, 0, class(first)} | done]
    decomposed(rest, decompose, Enum.reduce(others, done, &[{&1, 1, class(&1)} | &2]))
  end

  defp decomposed("", _decompose, done), do: done

  defp class(code), do: :unicode_util.lookup(code).ccc

  # Characters that combine are sorted by their classes, up to the next that does not.
  defp ordered([{_code, _change, 0} = next | rest], marks, done), do: ordered(rest, [], [next | sorted(marks, done)])
  defp ordered([mark | rest], marks, done), do: ordered(rest, [mark | marks], done)
  defp ordered([], marks, done), do: marks |> sorted(done) |> Enum.reverse()

  defp sorted([], done), do: done
  defp sorted(marks, done), do: marks |> Enum.reverse() |> Enum.sort_by(&elem(&1, 2)) |> Enum.reverse(done)

  # `starter` is the character that others may join, `marks` those behind it that did not, the last first.
  defp composed(characters), do: composed(characters, nil, [], [])

  defp composed([{code, change, class} | rest], nil, [], done) when class != 0,
    do: composed(rest, nil, [], [{code, change} | done])

  defp composed([{code, change, 0} | rest], nil, [], done), do: composed(rest, {code, change}, [], done)

  defp composed([{code, change, class} = character | rest], {first, sum} = starter, marks, done) do
    case not blocked?(marks, class) && join(first, code) do
      joined when is_integer(joined) -> composed(rest, {joined, sum + change - 1}, marks, done)
      _none when class == 0 -> composed(rest, {code, change}, [], finished(starter, marks, done))
      _none -> composed(rest, starter, [character | marks], done)
    end
  end

  defp composed([], nil, [], done), do: Enum.reverse(done)
  defp composed([], starter, marks, done), do: starter |> finished(marks, done) |> Enum.reverse()

  defp blocked?([], _class), do: false
  defp blocked?([{_code, _change, last} | _marks], class), do: last >= class

  defp finished(starter, marks, done) do
    marks
    |> Enum.reverse()
    |> Enum.reduce([starter | done], fn {code, change, _class}, done -> [{code, change} | done] end)
  end

  defp join(first, second) when second < 0x300 or first < 0x3C, do: nil

  defp join(first, second) do
    case :unicode.characters_to_nfc_list([first, second]) do
      [joined] -> joined
      _two -> nil
    end
  end
end
