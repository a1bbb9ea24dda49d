defmodule Mlx.LM.Tokenizer.BytePairEncoding.ShortWord do
  @moduledoc false
  # A word that is scanned for its best merge again and again: a list of its tokens, each with the merge of it and the next
  # one behind it. The time grows with the square of the length, unless few merges are in many places.

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
      {best, _times} -> word |> everywhere(best, merges) |> merged(merges, rounds + 1)
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

  # Merges from left to right, up to where a better merge comes up, or one that is as good and further left.
  defp everywhere([left, best, right, _merge | rest], best, merges) do
    token = Merges.joined(left, right, best)

    case with_next(token, rest, merges) do
      merge when merge <= best -> [token, merge | rest]
      merge -> everywhere(token, merge, rest, best, merges)
    end
  end

  defp everywhere([token, merge | rest], best, merges), do: everywhere(token, merge, rest, best, merges)

  # `before` has another merge than the best.
  defp everywhere(before, _merge, [left, best, right, _next | rest], best, merges) do
    token = Merges.joined(left, right, best)
    merge = Merges.of(merges, before, token)
    next = with_next(token, rest, merges)

    if merge <= best or next <= best do
      [before, merge, token, next | rest]
    else
      [before, merge | everywhere(token, next, rest, best, merges)]
    end
  end

  defp everywhere(before, merge, [token, next | rest], best, merges),
    do: [before, merge | everywhere(token, next, rest, best, merges)]

  defp everywhere(before, merge, [], _best, _merges), do: [before, merge]

  defp with_next(_token, [], _merges), do: none()
  defp with_next(token, [next | _rest], merges), do: Merges.of(merges, token, next)

  @doc "The tokens."
  @spec tokens(t) :: [Merges.token()]
  def tokens([token, _merge | rest]), do: [token | tokens(rest)]
  def tokens([]), do: []
end
