defmodule Mlx.LM.Tokenizer.BytePairEncoding.LongWord do
  @moduledoc false
  # A word of any length, in windows that overlap by one token, in a time that grows with the length.
  #
  # The best merge of a whole word is the best of each part that it lies in. So merges inside of a part come in the same
  # order when the part is merged alone, and two things follow:
  #
  #   * Neighbours among the tokens of a word are what the text of these two alone becomes.
  #   * Tokens of which each two neighbours are what their text alone becomes are the tokens of the whole text.
  #
  # A window begins with a token of the window before. If it is also the first token of this window, then each two neighbours
  # of the tokens of both windows are neighbours in one of them. If it is not, the window before is made longer.

  alias Mlx.LM.Tokenizer.BytePairEncoding
  alias Mlx.LM.Tokenizer.BytePairEncoding.{Beginning, LinkedWord, Merges, ShortWord}

  # A window's length at first, and the longest.
  @size 24
  @longest 1024

  # The tokens at the end of a window that are left to the next one, behind the one that both have. They are not certain:
  # the window may end inside of what would be a token.
  @uncertain 2
  @fewest 6
  @most 16

  # How many windows before are kept, and how often a token may be gone through, on average. What takes more is merged as a whole.
  @kept 16
  @rounds 400

  @doc "The tokens of a word, in reverse."
  @spec merged(BytePairEncoding.t(), Beginning.rest(), boolean) :: [Merges.token()]
  def merged(%{merges: merges} = model, {text, _prefix, _unknown} = word, lone) do
    next = &Beginning.part(model, &1, lone)

    case windows({[], 0, word, nil, []}, [], {@size, @rounds * (@longest + byte_size(text))}, {next, merges}) do
      :unsettled -> word |> all(next) |> LinkedWord.merged(merges) |> Enum.reverse()
      merged -> merged
    end
  end

  defp all(nil, _next), do: []

  defp all(rest, next) do
    {tokens, rest} = next.(rest)
    tokens ++ all(rest, next)
  end

  # A place is where a window begins: tokens that the word begins as from there on, their number, what is left of the word
  # behind them, what the first of them becomes as far as the window before can tell, and the tokens before, in reverse.
  # `earlier` has the places of the windows before, with their sizes.
  defp windows(_place, _earlier, {size, steps}, _word) when size > @longest or steps < 0, do: :unsettled

  defp windows({tokens, count, rest, first, done}, earlier, todo, {next, _merges} = word)
       when count < elem(todo, 0) and rest != nil do
    {more, rest} = next.(rest)
    windows({tokens ++ more, count + length(more), rest, first, done}, earlier, todo, word)
  end

  defp windows({[], _count, nil, _first, done}, _earlier, _todo, _word), do: done

  defp windows({tokens, count, rest, first, done} = place, earlier, {size, steps}, {_next, merges} = word) do
    {merged, rounds} = tokens |> ShortWord.first(size, merges) |> ShortWord.merged(merges)
    [begin | _] = merged = ShortWord.tokens(merged)
    steps = steps - size * (rounds + 1)

    cond do
      first != nil and begin != first ->
        longer_before(earlier, steps, word)

      count <= size and rest == nil ->
        Enum.reverse(merged, done)

      true ->
        case length(merged) do
          few when few < @fewest ->
            windows(place, earlier, {2 * size, steps}, word)

          length ->
            {next, taken, done} = settled(merged, length - 1 - @uncertain, 0, done)
            {tokens, count} = behind(tokens, count, taken)
            earlier = [{place, size} | Enum.take(earlier, @kept - 1)]
            size = if length > @most and size > @size, do: div(size, 2), else: size
            windows({tokens, count, rest, next, done}, earlier, {size, steps}, word)
        end
    end
  end

  defp longer_before([], _steps, _word), do: :unsettled
  defp longer_before([{place, size} | earlier], steps, word), do: windows(place, earlier, {2 * size, steps}, word)

  # The first tokens are done, but for a number of them.
  defp settled([next | _uncertain], 0, taken, done), do: {next, taken, done}

  defp settled([token | tokens], left, taken, done),
    do: settled(tokens, left - 1, taken + Merges.size(token), [token | done])

  # What is behind the tokens that stand for a number of bytes.
  defp behind(tokens, count, 0), do: {tokens, count}
  defp behind([token | tokens], count, size), do: behind(tokens, count - 1, size - Merges.size(token))
end
