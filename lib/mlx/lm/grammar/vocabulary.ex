defmodule Mlx.LM.Grammar.Vocabulary do
  @moduledoc false
  # The bytes of a tokenizer's tokens, as a tree of their beginnings.
  #
  # Two nodes of the tree are roots: that of all tokens inside of a text, and that of tokens at its start, where SentencePiece
  # leaves out a space.

  alias Mlx.LM.Grammar.{Cache, TokenSet, Tree}
  alias Mlx.LM.Tokenizer

  @enforce_keys [
    :tree,
    :inside,
    :start,
    :all,
    :longer,
    :bytes,
    :places,
    :start_bytes,
    :size,
    :words,
    :single,
    :end_ids,
    :key
  ]
  defstruct @enforce_keys

  @typep root :: non_neg_integer()

  @typedoc "`all` has the tokens below a root, and `longer` those of more characters, for each number of characters."
  @type t :: %__MODULE__{
          tree: Tree.t(),
          inside: non_neg_integer(),
          start: non_neg_integer(),
          all: %{root() => TokenSet.words()},
          longer: %{root() => [{non_neg_integer(), TokenSet.t()}]},
          bytes: binary(),
          places: binary(),
          start_bytes: :same | :stripped | :spaces_stripped,
          size: pos_integer(),
          words: pos_integer(),
          single: binary(),
          end_ids: MapSet.t(non_neg_integer()),
          key: binary()
        }

  # The bytes behind the first one of a character. A vocabulary with tokens for half of them has tokens for parts of characters.
  @bytes 0x80..0xBF

  @doc "The vocabulary of a tokenizer. It is made once for each tokenizer."
  @spec of(Tokenizer.t()) :: t()
  def of(%Tokenizer{} = tokenizer) do
    vocabulary =
      Cache.fetch({:vocabulary, tokenizer.tokens.ref, tokenizer.decoder}, &bytes_taken/1, fn ->
        new(tokens(tokenizer), start_bytes!(tokenizer.decoder))
      end)

    %{vocabulary | end_ids: tokenizer.end_ids}
  end

  defp bytes_taken(vocabulary) do
    longer = for {_root, sets} <- vocabulary.longer, {_count, set} <- sets, do: TokenSet.bytes(set)

    Tree.bytes(vocabulary.tree) + byte_size(vocabulary.bytes) + byte_size(vocabulary.places) + Enum.sum(longer) +
      4 * vocabulary.words * map_size(vocabulary.all)
  end

  # The bytes of all tokens that have some. Numbers of tokens may have gaps.
  defp tokens(tokenizer), do: tokens(tokenizer, 0, Tokenizer.size(tokenizer), [])

  defp tokens(_tokenizer, _id, 0, tokens), do: Enum.reverse(tokens)

  defp tokens(tokenizer, id, left, tokens) do
    case Tokenizer.token(tokenizer, id) do
      nil when id > 4 * tokenizer.tokens.size + 1000 -> Enum.reverse(tokens)
      nil -> tokens(tokenizer, id + 1, left, tokens)
      _token -> tokens(tokenizer, id + 1, left - 1, [{id, Tokenizer.bytes(tokenizer, id, special: false)} | tokens])
    end
  end

  # What becomes of the first token of a text.
  defp start_bytes!(stages) do
    Enum.reduce(stages, :same, fn stage, start ->
      case stage do
        {:byte_level} -> start
        {:byte_fallback} -> start
        {:fuse} -> start
        {:replace, _pattern, _content, true} -> start
        {:metaspace, _replacement, false} -> start
        {:metaspace, _replacement, true} -> :spaces_stripped
        {:strip, " ", 1, 0} -> :stripped
        stage -> refuse!(stage)
      end
    end)
  end

  @spec refuse!(tuple()) :: no_return()
  defp refuse!(stage) do
    raise Mlx.Error,
          "expected a tokenizer whose tokens stand for the same bytes wherever they are, as byte-level and SentencePiece " <>
            "ones do, got one whose decoder has the part #{elem(stage, 0)}"
  end

  @doc "The vocabulary of tokens and their bytes."
  @spec new([{non_neg_integer(), binary()}], :same | :stripped | :spaces_stripped) :: t()
  def new(tokens, start_bytes \\ :same) do
    tokens = for {id, bytes} <- tokens, bytes != "", do: {bytes, id}
    size = 1 + (tokens |> Enum.map(&elem(&1, 1)) |> Enum.max(fn -> 0 end))
    inside = by_bytes(tokens)
    lists = if start_bytes == :same, do: [inside], else: [inside, at_start(tokens, start_bytes)]
    {tree, [root | _start] = roots} = Tree.new(lists)
    words = div(size + 31, 32)
    by_id = Map.new(tokens, fn {bytes, id} -> {id, bytes} end)

    {places, _size} =
      Enum.map_reduce(0..size, 0, fn id, place -> {<<place::32>>, place + byte_size(Map.get(by_id, id, ""))} end)

    all = for {root, tokens} <- Enum.zip(roots, lists), into: %{}, do: {root, longer(tokens, words)}

    %__MODULE__{
      tree: tree,
      inside: root,
      start: List.last(roots),
      all: Map.new(all, fn {root, {all, _longer}} -> {root, all} end),
      longer: Map.new(all, fn {root, {_all, longer}} -> {root, longer} end),
      bytes: for(id <- 0..(size - 1), into: <<>>, do: Map.get(by_id, id, "")),
      places: IO.iodata_to_binary(places),
      start_bytes: start_bytes,
      size: size,
      words: words,
      single: single(by_id),
      end_ids: MapSet.new(),
      key: :erlang.md5([tree.nodes, tree.order, :erlang.term_to_binary(roots)])
    }
  end

  # Tokens of the same bytes together, in the order of the bytes.
  defp by_bytes(tokens) do
    tokens
    |> Enum.sort()
    |> Enum.chunk_by(&elem(&1, 0))
    |> Enum.map(fn [{bytes, _id} | _] = all -> {bytes, Enum.map(all, &elem(&1, 1))} end)
  end

  # Tokens that are the same at the start need not be the same inside.
  defp at_start(tokens, start_bytes),
    do: by_bytes(for {bytes, id} <- tokens, rest = at_start_of_text(bytes, start_bytes), rest != "", do: {rest, id})

  defp at_start_of_text(bytes, :same), do: bytes
  defp at_start_of_text(<<" ", rest::binary>>, :stripped), do: rest
  defp at_start_of_text(<<" ", rest::binary>>, :spaces_stripped), do: :binary.replace(rest, " ", "", [:global])
  defp at_start_of_text(bytes, :spaces_stripped), do: :binary.replace(bytes, " ", "", [:global])
  defp at_start_of_text(bytes, _stripped), do: bytes

  # All tokens, and for each number of characters that tokens have, and for none, the tokens that have more.
  defp longer(tokens, words) do
    {all, longer} =
      tokens
      |> Enum.group_by(fn {bytes, _ids} -> characters(bytes) end, &elem(&1, 1))
      |> Map.put_new(0, [])
      |> Enum.sort(:desc)
      |> Enum.reduce({TokenSet.none(), []}, fn {count, ids}, {more, longer} ->
        {TokenSet.union([more, TokenSet.new(Enum.concat(ids))], words), [{count, more} | longer]}
      end)

    {TokenSet.words([all], TokenSet.none(), words), longer}
  end

  # Bytes behind the first one of a character do not count.
  defp characters(bytes), do: for(<<byte <- bytes>>, byte not in 0x80..0xBF, reduce: 0, do: (n -> n + 1))

  # Of each byte 1 where it can be written. Where the vocabulary has tokens for single bytes, as byte-level and SentencePiece
  # ones do, those without one are left out, so that no text begins that cannot end.
  defp single(by_id) do
    texts = by_id |> Map.values() |> IO.iodata_to_binary()
    used = for byte <- 0..255, :binary.match(texts, <<byte>>) != :nomatch, into: MapSet.new(), do: byte
    alone = for {_id, <<byte>>} <- by_id, into: MapSet.new(), do: byte
    kept = if Enum.count(@bytes, &(&1 in alone)) >= 32, do: alone, else: used
    for byte <- 0..255, into: <<>>, do: if(byte in kept, do: <<1>>, else: <<0>>)
  end

  @doc "The tables that native code takes: the nodes, the tokens in their order, and how many words a set has."
  @spec tables(t()) :: {binary(), binary(), pos_integer()}
  def tables(%__MODULE__{tree: tree, words: words}), do: {tree.nodes, tree.order, words}

  @doc "The tokens below a root that have more characters."
  @spec longer(t(), root(), non_neg_integer()) :: TokenSet.t()
  def longer(%__MODULE__{longer: longer}, root, count) do
    longer |> Map.fetch!(root) |> Enum.take_while(fn {most, _tokens} -> most <= count end) |> List.last() |> elem(1)
  end

  @doc "The most characters that a token below a root has."
  @spec longest(t(), root()) :: non_neg_integer()
  def longest(%__MODULE__{longer: longer}, root), do: longer |> Map.fetch!(root) |> List.last() |> elem(0)

  @doc "Whether a byte can be written: whether some token has it, or is it in a vocabulary that has tokens for bytes."
  @spec writes?(t(), byte()) :: boolean()
  def writes?(%__MODULE__{single: single}, byte), do: :binary.at(single, byte) == 1

  @doc "The bytes of a token; none for one that writes nothing. `start` says whether it is the first of a text."
  @spec bytes(t(), non_neg_integer(), boolean()) :: binary()
  def bytes(%__MODULE__{size: size}, id, _start) when id >= size, do: ""

  def bytes(%__MODULE__{bytes: bytes, places: places} = vocabulary, id, start) do
    skipped = 4 * id
    <<_::binary-size(^skipped), from::32, to::32, _::binary>> = places
    bytes = binary_part(bytes, from, to - from)
    if start, do: at_start_of_text(bytes, vocabulary.start_bytes), else: bytes
  end
end
