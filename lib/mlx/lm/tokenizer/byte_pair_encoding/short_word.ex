defmodule Mlx.LM.Tokenizer.BytePairEncoding.ShortWord do
  @moduledoc false
  # A word that is scanned for its best merge again and again: a list of its tokens, each with the merge of it and the next
  # one behind it. The time grows with the square of the length, unless few merges are in many places, or one brings up the
  # next.

  import Mlx.LM.Tokenizer.BytePairEncoding.Merges, only: [none: 0]

  alias Mlx.LM.Tokenizer.BytePairEncoding.Merges

  @typedoc "Tokens and merges in turn."
  @type t :: [Merges.token() | Merges.merge()]

  @doc "The word of the first tokens of a list, which has at least one."
  @spec first([Merges.token()], pos_integer, Merges.t()) :: t
  def first([left | [right | _] = tokens], count, merges) when count > 1,
    do: [left, Merges.of(merges, left, right) | first(tokens, count - 1, merges)]

  def first([last | _tokens], _count, _merges), do: [last, none()]

  @doc "The word when no merge is left, and how often it was gone through for that."
  @spec merged(t, Merges.t()) :: {t, non_neg_integer}
  def merged(word, merges), do: merged(word, merges, 0)

  defp merged(word, merges, rounds) do
    case best(word, none(), 0) do
      {none(), _times} -> {word, rounds}
      {best, 1} -> word |> once(best, merges) |> merged(merges, rounds + 1)
      {best, times} -> word |> everywhere([], times, best, merges) |> merged(merges, rounds + 1)
    end
  end

  # The best merge, and how often it is there.
  defp best([_token, merge | rest], best, _times) when merge < best, do: best(rest, merge, 1)
  defp best([_token, merge | rest], best, times) when merge == best, do: best(rest, best, times + 1)
  defp best([_token, _merge | rest], best, times), do: best(rest, best, times)
  defp best([], best, times), do: {best, times}

  # Merges at the first place. What stands behind it is shared with the word before.
  defp once([left, best, right, _merge | rest], best, merges) do
    token = Merges.joined(left, right, best)
    [token, with_next(token, rest, merges) | rest]
  end

  defp once([before, _merge, left, best, right, _next | rest], best, merges) do
    token = Merges.joined(left, right, best)
    [before, Merges.of(merges, before, token), token, with_next(token, rest, merges) | rest]
  end

  defp once([token, merge | rest], best, merges), do: [token, merge | once(rest, best, merges)]

  # Merges at all places of the best merge, of which `times` are left, from left to right. `done` is the word before, in reverse:
  # it has no merge that is as good. What stands behind the last place is shared with the word before.
  defp everywhere(word, done, 0, _best, _merges), do: :lists.reverse(done, word)

  defp everywhere([left, best, right, merge | rest], done, times, best, merges),
    do: joined(Merges.joined(left, right, best), done, rest, left(times - 1, merge, best), best, merges)

  defp everywhere([token, merge | rest], done, times, best, merges),
    do: everywhere(rest, [merge, token | done], times, best, merges)

  # A merge brought this token up between `done` and `rest`. All other merges are worse than the best or are that. So merges with
  # its neighbours go first where they are better, and then this is the leftmost place of the best.
  defp joined(token, [_merge, before | earlier], rest, times, best, merges) do
    merge = Merges.of(merges, before, token)
    next = with_next(token, rest, merges)

    cond do
      merge <= best and merge <= next ->
        joined(Merges.joined(before, token, merge), earlier, rest, times, best, merges)

      next <= best ->
        [right, behind | rest] = rest
        done = [merge, before | earlier]
        joined(Merges.joined(token, right, next), done, rest, left(times, behind, best), best, merges)

      true ->
        everywhere(rest, [next, token, merge, before | earlier], times, best, merges)
    end
  end

  defp joined(token, [], rest, times, best, merges) do
    case with_next(token, rest, merges) do
      next when next <= best ->
        [right, behind | rest] = rest
        joined(Merges.joined(token, right, next), [], rest, left(times, behind, best), best, merges)

      next ->
        everywhere(rest, [next, token], times, best, merges)
    end
  end

  # A place of the best merge goes when the token at it does.
  defp left(times, best, best), do: times - 1
  defp left(times, _merge, _best), do: times

  defp with_next(_token, [], _merges), do: none()
  defp with_next(token, [next | _rest], merges), do: Merges.of(merges, token, next)

  @doc "The tokens."
  @spec tokens(t) :: [Merges.token()]
  def tokens([token, _merge | rest]), do: [token | tokens(rest)]
  def tokens([]), do: []
end
