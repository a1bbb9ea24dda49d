defmodule Mlx.LM.Tokenizer.BytePairEncoding.LinkedWord do
  @moduledoc false
  # A word as a doubly linked list in mutable arrays, whose merges wait in their order, so that the time is close to linear
  # in any word.
  #
  # Positions are counted from 1 on, 0 is none, and a token that went into the one before it is `@gone`. Positions wait by merge,
  # and `queue` orders those merges. A position may wait for a pair that is gone: it is looked at again when its turn comes.

  import Mlx.LM.Tokenizer.BytePairEncoding.Merges, only: [none: 0]

  alias Mlx.LM.Tokenizer.BytePairEncoding.Merges

  @gone -1

  @doc "The tokens that are left of these, of which there is at least one, when no merge is."
  @spec merged([Merges.token()], Merges.t()) :: [Merges.token()]
  def merged(tokens, merges) do
    count = length(tokens)
    word = %{tokens: :atomics.new(count, []), before: :atomics.new(count, []), behind: :atomics.new(count, [])}
    link(tokens, 1, count, word)

    {queue, waiting} = Enum.reduce(count..1//-1, {:gb_sets.new(), %{}}, &wait(&2, &1, merge_at(word, &1, merges)))
    merge_all(queue, waiting, word, merges)
    tokens(word, 1, [])
  end

  defp link([], _at, _count, _word), do: :ok

  defp link([token | tokens], at, count, word) do
    :atomics.put(word.tokens, at, token)
    :atomics.put(word.before, at, at - 1)
    :atomics.put(word.behind, at, if(at == count, do: 0, else: at + 1))
    link(tokens, at + 1, count, word)
  end

  defp merge_all(queue, waiting, word, merges) do
    if not :gb_sets.is_empty(queue) do
      {merge, queue} = :gb_sets.take_smallest(queue)
      {positions, waiting} = Map.pop!(waiting, merge)
      {queue, waiting} = merge_each(:lists.sort(positions), merge, {queue, waiting}, word, merges)
      merge_all(queue, waiting, word, merges)
    end
  end

  defp merge_each([], _merge, todo, _word, _merges), do: todo

  defp merge_each([at | positions], merge, todo, word, merges) do
    if merge_at(word, at, merges) == merge do
      before = join(word, at, merge)
      left = merge_at(word, before, merges)
      right = merge_at(word, at, merges)
      todo = todo |> wait(before, left) |> wait(at, right)

      # A better pair than this one came up: the others of this one wait.
      if min(left, right) < merge do
        Enum.reduce(positions, todo, &wait(&2, &1, merge))
      else
        merge_each(positions, merge, todo, word, merges)
      end
    else
      merge_each(positions, merge, todo, word, merges)
    end
  end

  defp wait(todo, _at, none()), do: todo

  defp wait({queue, waiting}, at, merge) do
    case waiting do
      %{^merge => positions} -> {queue, %{waiting | merge => [at | positions]}}
      _none -> {:gb_sets.add(merge, queue), Map.put(waiting, merge, [at])}
    end
  end

  defp merge_at(_word, 0, _merges), do: none()

  defp merge_at(word, at, merges) do
    case {:atomics.get(word.tokens, at), :atomics.get(word.behind, at)} do
      {@gone, _behind} -> none()
      {_last, 0} -> none()
      {token, behind} -> Merges.of(merges, token, :atomics.get(word.tokens, behind))
    end
  end

  # Joins the token at `at` and the one behind it; gives the position before them.
  defp join(word, at, merge) do
    gone = :atomics.get(word.behind, at)
    behind = :atomics.get(word.behind, gone)
    :atomics.put(word.tokens, at, Merges.joined(:atomics.get(word.tokens, at), :atomics.get(word.tokens, gone), merge))
    :atomics.put(word.tokens, gone, @gone)
    :atomics.put(word.behind, at, behind)
    if behind > 0, do: :atomics.put(word.before, behind, at)
    :atomics.get(word.before, at)
  end

  defp tokens(_word, 0, tokens), do: Enum.reverse(tokens)

  defp tokens(word, at, tokens) do
    tokens(word, :atomics.get(word.behind, at), [:atomics.get(word.tokens, at) | tokens])
  end
end
