defmodule Mlx.LM.Tokenizer.BytePairEncoding do
  @moduledoc false
  # Byte-pair encoding: a word is a sequence of bytes, each a token, in which the pair of neighbours that was learned first
  # is merged into one token until no pair is left that was learned. Of equal pairs the leftmost goes first.
  #
  # A short word is scanned for its best pair again and again. A long one (a text without spaces can be one word) keeps its
  # pairs in order of rank and its tokens in a linked list, so that the time stays close to linear.

  import Bitwise

  alias Mlx.LM.Tokenizer.{ByteAlphabet, Table}

  @typedoc "The token of each byte (`nil` where the vocabulary has none), and the merges by pair of tokens."
  @opaque t :: %{bytes: tuple, merges: Table.t()}

  # A pair is `left <<< 24 ||| right`, and a merge `rank <<< 24 ||| token`, so that merges compare as their ranks do.
  @token_bits 24
  @none 1 <<< 58
  @short 128

  @doc """
  Builds the encoding from a map of tokens to ids and from merges, best first, each two tokens with a space between.

  Raises `Mlx.Error` when a merge does not name tokens of the vocabulary.
  """
  @spec new(%{binary => non_neg_integer}, [binary]) :: t
  def new(ids, merges) do
    %{
      bytes: List.to_tuple(for byte <- 0..255, do: ids[ByteAlphabet.character(byte)]),
      merges: merges |> Enum.with_index() |> Map.new(fn {merge, rank} -> merge(merge, rank, ids) end) |> Table.new()
    }
  end

  defp merge(merge, rank, ids) do
    with [left, right] <- :binary.split(merge, " "),
         %{^left => left_id, ^right => right_id} <- ids,
         {:ok, id} <- Map.fetch(ids, left <> right) do
      {left_id <<< @token_bits ||| right_id, rank <<< @token_bits ||| id}
    else
      _other -> raise Mlx.Error, message: "merge #{rank} (#{inspect(merge)}) does not name tokens of the vocabulary"
    end
  end

  @doc "The tokens of a word. A byte that has no token is left out, as the reference does."
  @spec encode(t, binary) :: [non_neg_integer]
  def encode(%{bytes: bytes, merges: merges}, word) do
    case for(<<byte <- word>>, id = elem(bytes, byte), do: id) do
      [] -> []
      ids when byte_size(word) <= @short -> ids |> with_pairs(merges) |> merge_short(merges)
      ids -> merge_long(ids, merges)
    end
  end

  defp pair(merges, left, right) do
    Table.get(merges, left <<< @token_bits ||| right) || @none
  end

  # A short word is a list of its tokens, each with the merge of it and the next one behind it.

  defp with_pairs([last], _merges), do: [last, @none]
  defp with_pairs([left, right | _] = ids, merges), do: [left, pair(merges, left, right) | with_pairs(tl(ids), merges)]

  defp merge_short(word, merges) do
    case best(word, @none) do
      @none -> ids(word)
      best -> word |> apply_first(best, merges) |> merge_short(merges)
    end
  end

  defp best([_id, merge | rest], best) when merge < best, do: best(rest, merge)
  defp best([_id, _merge | rest], best), do: best(rest, best)
  defp best([], best), do: best

  defp ids([id, _merge | rest]), do: [id | ids(rest)]
  defp ids([]), do: []

  defp apply_first([_left, best, _right, _merge | rest], best, merges) do
    id = merged(best)
    [id, pair_with(id, rest, merges) | rest]
  end

  defp apply_first([before, _merge, _left, best, _right, _next | rest], best, merges) do
    id = merged(best)
    [before, pair(merges, before, id), id, pair_with(id, rest, merges) | rest]
  end

  defp apply_first([id, merge | rest], best, merges), do: [id, merge | apply_first(rest, best, merges)]

  defp pair_with(_id, [], _merges), do: @none
  defp pair_with(id, [next | _rest], merges), do: pair(merges, id, next)

  defp merged(merge), do: merge &&& (1 <<< @token_bits) - 1

  # A long word is a doubly linked list in mutable arrays, with positions from 1 on and 0 for none; a token that went
  # into the one before it is -1. Positions wait by merge, and `queue` orders those merges. A position may wait for a
  # pair that is gone: it is looked at again when its turn comes.

  defp merge_long(ids, merges) do
    count = length(ids)
    word = %{tokens: :atomics.new(count, []), before: :atomics.new(count, []), behind: :atomics.new(count, [])}
    link(ids, 1, count, word)

    {queue, waiting} = Enum.reduce(count..1//-1, {:gb_sets.new(), %{}}, &wait(&2, &1, pair_at(word, &1, merges)))
    merge_all(queue, waiting, word, merges)
    tokens(word, 1, [])
  end

  defp link([], _at, _count, _word), do: :ok

  defp link([id | ids], at, count, word) do
    :atomics.put(word.tokens, at, id)
    :atomics.put(word.before, at, at - 1)
    :atomics.put(word.behind, at, if(at == count, do: 0, else: at + 1))
    link(ids, at + 1, count, word)
  end

  defp merge_all(queue, waiting, word, merges) do
    if not :gb_sets.is_empty(queue) do
      {merge, queue} = :gb_sets.take_smallest(queue)
      {positions, waiting} = Map.pop!(waiting, merge)
      {queue, waiting} = merge_at(:lists.sort(positions), merge, {queue, waiting}, word, merges)
      merge_all(queue, waiting, word, merges)
    end
  end

  defp merge_at([], _merge, todo, _word, _merges), do: todo

  defp merge_at([at | positions], merge, todo, word, merges) do
    if pair_at(word, at, merges) == merge do
      before = join(word, at, merged(merge))
      left = pair_at(word, before, merges)
      right = pair_at(word, at, merges)
      todo = todo |> wait(before, left) |> wait(at, right)

      # A better pair than this one came up: the others of this one wait.
      if min(left, right) < merge do
        Enum.reduce(positions, todo, &wait(&2, &1, merge))
      else
        merge_at(positions, merge, todo, word, merges)
      end
    else
      merge_at(positions, merge, todo, word, merges)
    end
  end

  defp wait(todo, _at, @none), do: todo

  defp wait({queue, waiting}, at, merge) do
    case waiting do
      %{^merge => positions} -> {queue, %{waiting | merge => [at | positions]}}
      _none -> {:gb_sets.add(merge, queue), Map.put(waiting, merge, [at])}
    end
  end

  defp pair_at(_word, 0, _merges), do: @none

  defp pair_at(word, at, merges) do
    case :atomics.get(word.behind, at) do
      0 -> @none
      behind -> pair(merges, :atomics.get(word.tokens, at), :atomics.get(word.tokens, behind))
    end
  end

  # Puts `id` in the place of the token at `at` and the one behind it; gives the position before them.
  defp join(word, at, id) do
    gone = :atomics.get(word.behind, at)
    behind = :atomics.get(word.behind, gone)
    :atomics.put(word.tokens, at, id)
    :atomics.put(word.tokens, gone, -1)
    :atomics.put(word.behind, at, behind)
    if behind > 0, do: :atomics.put(word.before, behind, at)
    :atomics.get(word.before, at)
  end

  defp tokens(_word, 0, tokens), do: Enum.reverse(tokens)

  defp tokens(word, at, tokens) do
    tokens(word, :atomics.get(word.behind, at), [:atomics.get(word.tokens, at) | tokens])
  end
end
