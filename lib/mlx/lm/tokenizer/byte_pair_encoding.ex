defmodule Mlx.LM.Tokenizer.BytePairEncoding do
  @moduledoc false
  # Byte-pair encoding: a word is a sequence of bytes or characters, each a token, in which the pair of neighbours that was learned first
  # is merged into one token until no pair is left that was learned. Of equal pairs the leftmost goes first.
  #
  # A short word is scanned for its best pair again and again. A long one (a text without spaces can be one word) keeps its
  # pairs in order of rank and its tokens in a linked list, so that the time stays close to linear.

  import Bitwise

  alias Mlx.Arguments.Given
  alias Mlx.LM.Tokenizer.{ByteAlphabet, ByteTokens, Fields, LoneBytes, Model, Table}

  @behaviour Model

  @enforce_keys [:ids, :merges, :bytes, :fallback, :unknown, :fuse, :prefix, :suffix, :whole_words]
  defstruct @enforce_keys

  @typep table :: Table.t()

  @typedoc """
  The vocabulary, and the merges by pair of tokens; the token of each byte where words are bytes; the tokens that stand
  for bytes; the unknown token, and whether neighbours of that kind are one; what is written in front of characters inside
  of a word and behind its last one; and whether a word that is itself a token is that token whatever the merges say.
  """
  @type t :: %__MODULE__{
          ids: table,
          merges: table,
          bytes: tuple | nil,
          fallback: tuple | nil,
          unknown: String.t() | nil,
          fuse: boolean,
          prefix: String.t(),
          suffix: String.t(),
          whole_words: boolean
        }

  # A pair is `left <<< 24 ||| right`, and a merge `rank <<< 24 ||| token`, so that merges compare as their ranks do.
  @token_bits 24
  @none 1 <<< 58
  @short 128

  @spec vocabulary(map, String.t()) :: Model.vocabulary()
  def vocabulary(object, place), do: Model.ids(object, place)

  @doc "Reads the object of the type `BPE`. Dropout, which is for training, is left out."
  @spec read(map, Model.vocabulary(), String.t(), boolean) :: t
  def read(object, vocabulary, place, bytes) do
    prefix = Fields.get(object, "continuing_subword_prefix", :string, place, "")
    merges = object |> Fields.get("merges", :list, place) |> pairs("#{place}.merges")

    new(vocabulary, merges,
      bytes: bytes,
      fallback: Fields.get(object, "byte_fallback", :boolean, place, false),
      unknown: Fields.get(object, "unk_token", :string, place, nil),
      fuse: Fields.get(object, "fuse_unk", :boolean, place, false),
      prefix: prefix,
      suffix: Fields.get(object, "end_of_word_suffix", :string, place, ""),
      whole_words: Fields.get(object, "ignore_merges", :boolean, place, false)
    )
  end

  defp pairs(merges, place) do
    Enum.map(merges, fn
      [left, right] when is_binary(left) and is_binary(right) ->
        {left, right}

      merge when is_binary(merge) ->
        case :binary.split(merge, " ") do
          [left, right] -> {left, right}
          [_one] -> Fields.fail(place, "has #{Given.text(merge)}, which is not two tokens with a space between")
        end

      other ->
        Fields.fail(place, "has #{Given.text(other)}, which is not two tokens")
    end)
  end

  @doc """
  Builds the encoding from a map of tokens to ids and from merges, best first, each two tokens; merges can have their rank
  with them, `{left, right, rank}`.

  Raises `Mlx.Error` when a merge does not name tokens of the vocabulary.
  """
  @spec new(Model.vocabulary(), [{binary, binary} | {binary, binary, non_neg_integer}], keyword) :: t
  def new(ids, merges, options \\ []) do
    prefix = Keyword.get(options, :prefix, "")

    %__MODULE__{
      ids: Table.new(ids),
      merges: merges |> Enum.with_index() |> Map.new(&merge(&1, byte_size(prefix), ids)) |> Table.new(),
      bytes: if(options[:bytes], do: List.to_tuple(for(byte <- 0..255, do: ids[ByteAlphabet.character(byte)]))),
      fallback: if(options[:fallback], do: ByteTokens.new(ids)),
      unknown: options[:unknown],
      fuse: options[:fuse] || false,
      prefix: prefix,
      suffix: Keyword.get(options, :suffix, ""),
      whole_words: options[:whole_words] || false
    }
  end

  defp merge({{left, right, rank}, _index}, prefix, ids), do: merge({{left, right}, rank}, prefix, ids)

  defp merge({{left, right}, rank}, prefix, ids) do
    with %{^left => left_id, ^right => right_id} when byte_size(right) >= prefix <- ids,
         {:ok, id} <- Map.fetch(ids, left <> binary_part(right, prefix, byte_size(right) - prefix)) do
      {left_id <<< @token_bits ||| right_id, rank <<< @token_bits ||| id}
    else
      _other ->
        raise Mlx.Error,
          message: "merge #{rank} (#{Given.text(left)} and #{Given.text(right)}) does not name tokens of the vocabulary"
    end
  end

  @doc """
  Where words can be cut without a change to their tokens: a character, before which no token goes on but behind some
  characters, which are the second. Nil where that does not hold.

  With SentencePiece's vocabularies a whole text is one word, which `▁` cuts into small ones.
  """
  @spec cuts(t, Model.vocabulary()) :: {String.t(), MapSet.t(char)} | nil
  def cuts(%{bytes: nil, prefix: "", suffix: "", whole_words: false}, %{"▁" => _id} = vocabulary) do
    {"▁", for({token, _id} <- vocabulary, code <- before(token), into: MapSet.new(), do: code)}
  end

  def cuts(_model, _vocabulary), do: nil

  defp before(<<first::utf8, "▁", rest::binary>>), do: [first | before("▁" <> rest)]
  defp before(<<_first::utf8, rest::binary>>), do: before(rest)
  defp before(_end), do: []

  @doc "The tokens of a word. A byte or character that has no token is left out where no token is the unknown one."
  @impl Model
  def encode(%{whole_words: true} = model, word, lone) do
    case Table.get(
           model.ids,
           if(model.bytes, do: ByteAlphabet.text(if(lone, do: LoneBytes.show(word), else: word)), else: word)
         ) do
      nil -> pieces(model, word, lone)
      id -> [id]
    end
  end

  def encode(model, word, lone), do: pieces(model, word, lone)

  defp pieces(%{bytes: nil} = model, word, lone) do
    model |> characters(word, lone) |> merged_all(model.merges)
  end

  defp pieces(%{bytes: bytes, merges: merges}, word, lone) do
    word = if lone, do: LoneBytes.show(word), else: word
    merged_all(for(<<byte <- word>>, id = elem(bytes, byte), do: id), merges)
  end

  defp merged_all([], _merges), do: []
  defp merged_all([id], _merges), do: [id]

  defp merged_all(ids, merges) do
    if length(ids) <= @short, do: ids |> with_pairs(merges) |> merge_short(merges), else: merge_long(ids, merges)
  end

  # The tokens of the characters. An unknown one waits for the next that is known: it may become one with its neighbours,
  # and the tokens of bytes go before it, as in the reference.
  defp characters(model, word, lone), do: characters(word, "", model, lone, nil, [])

  defp characters("", _prefix, _model, _lone, nil, ids), do: Enum.reverse(ids)
  defp characters("", _prefix, _model, _lone, unknown, ids), do: Enum.reverse([unknown | ids])

  defp characters(<<code::utf8, rest::binary>>, prefix, model, lone, unknown, ids) do
    character = prefix <> <<code::utf8>> <> if(rest == "", do: model.suffix, else: "")

    case Table.get(model.ids, character) do
      nil ->
        case ByteTokens.of(model.fallback, if(lone, do: LoneBytes.show(character), else: character)) do
          nil ->
            next = unknown_id(model)
            ids = if unknown && not model.fuse, do: [unknown | ids], else: ids
            characters(rest, model.prefix, model, lone, next || unknown, ids)

          bytes ->
            characters(rest, model.prefix, model, lone, unknown, Enum.reverse(bytes, ids))
        end

      id ->
        characters(rest, model.prefix, model, lone, nil, if(unknown, do: [id, unknown | ids], else: [id | ids]))
    end
  end

  defp unknown_id(%{unknown: nil}), do: nil

  defp unknown_id(%{unknown: unknown} = model) do
    Table.get(model.ids, unknown) ||
      raise Mlx.Error, message: "the vocabulary has no unknown token #{inspect(unknown)}, which the text needs"
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
