defmodule Mlx.LM.Grammar.Vocabulary do
  @moduledoc false
  # The bytes of a tokenizer's tokens, as a tree of their beginnings.
  #
  # Two nodes of the tree are roots: that of all tokens inside of a text, and that of tokens at its start, where SentencePiece
  # leaves out a space.

  alias Mlx.LM.Grammar.{Bits, Cache, Tree}
  alias Mlx.LM.Tokenizer

  @enforce_keys [:tree, :inside, :start, :same, :all, :bytes, :places, :start_bytes, :size, :single, :end_ids, :key]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          tree: Tree.t(),
          inside: non_neg_integer(),
          start: non_neg_integer(),
          same: %{non_neg_integer() => [non_neg_integer()]},
          all: %{non_neg_integer() => Bits.t()},
          bytes: binary(),
          places: binary(),
          start_bytes: :same | :stripped | :spaces_stripped,
          size: pos_integer(),
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

  defp bytes_taken(vocabulary),
    do: Tree.bytes(vocabulary.tree) + byte_size(vocabulary.bytes) + byte_size(vocabulary.places)

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
    distinct = tokens |> Enum.sort() |> Enum.chunk_by(&elem(&1, 0))
    same = for [{_bytes, id}, _second | _] = all <- distinct, into: %{}, do: {id, Enum.map(all, &elem(&1, 1))}
    inside = Enum.map(distinct, &hd/1)
    {at_start, same} = if start_bytes == :same, do: {nil, same}, else: at_start(tokens, start_bytes, same)
    {tree, [root | roots]} = Tree.new([inside | List.wrap(at_start && [at_start])])
    start = List.first(roots, root)

    by_id = Map.new(tokens, fn {bytes, id} -> {id, bytes} end)

    {places, _size} =
      Enum.map_reduce(0..size, 0, fn id, place -> {<<place::32>>, place + byte_size(Map.get(by_id, id, ""))} end)

    vocabulary = %__MODULE__{
      tree: tree,
      inside: root,
      start: start,
      same: same,
      all: %{},
      bytes: for(id <- 0..(size - 1), into: <<>>, do: Map.get(by_id, id, "")),
      places: IO.iodata_to_binary(places),
      start_bytes: start_bytes,
      size: size,
      single: single(by_id),
      end_ids: MapSet.new(),
      key: :erlang.md5([tree.nodes, :erlang.term_to_binary({start, same})])
    }

    all = for root <- Enum.uniq([root, start]), into: %{}, do: {root, bits(vocabulary, root, Tree.tokens(tree, root))}
    %{vocabulary | all: all}
  end

  # Tokens that are the same at the start need not be the same inside, so that they stand below each other's numbers there.
  defp at_start(tokens, start_bytes, same) do
    distinct =
      tokens
      |> Enum.map(fn {bytes, id} -> {at_start(bytes, start_bytes), id} end)
      |> Enum.reject(&match?({"", _id}, &1))
      |> Enum.sort()
      |> Enum.chunk_by(&elem(&1, 0))

    more = for [{_bytes, id}, _second | _] = all <- distinct, into: %{}, do: {{:start, id}, Enum.map(all, &elem(&1, 1))}
    {Enum.map(distinct, &hd/1), Map.merge(same, more)}
  end

  defp at_start(bytes, :same), do: bytes
  defp at_start(<<" ", rest::binary>>, :stripped), do: rest
  defp at_start(<<" ", rest::binary>>, :spaces_stripped), do: :binary.replace(rest, " ", "", [:global])
  defp at_start(bytes, :spaces_stripped), do: :binary.replace(bytes, " ", "", [:global])
  defp at_start(bytes, _stripped), do: bytes

  # Of each byte 1 where it can be written. Where the vocabulary has tokens for single bytes, as byte-level and SentencePiece
  # ones do, those without one are left out, so that no text begins that cannot end.
  defp single(by_id) do
    texts = by_id |> Map.values() |> IO.iodata_to_binary()
    used = for byte <- 0..255, :binary.match(texts, <<byte>>) != :nomatch, into: MapSet.new(), do: byte
    alone = for {_id, <<byte>>} <- by_id, into: MapSet.new(), do: byte
    kept = if Enum.count(@bytes, &(&1 in alone)) >= 32, do: alone, else: used
    for byte <- 0..255, into: <<>>, do: if(byte in kept, do: <<1>>, else: <<0>>)
  end

  @doc "The set of tokens below a node, with those of the same bytes."
  @spec bits(t(), non_neg_integer(), [non_neg_integer()]) :: Bits.t()
  def bits(%__MODULE__{same: same}, _node, ids) when same == %{}, do: Bits.new(ids)

  def bits(%__MODULE__{same: same, start: start, inside: inside}, node, ids) do
    at_start = start != inside and node >= start

    ids
    |> Enum.flat_map(fn id ->
      case same do
        %{{:start, ^id} => all} when at_start -> all
        %{^id => all} when not at_start -> all
        _one -> [id]
      end
    end)
    |> Bits.new()
  end

  @doc "The set of tokens in runs of the tree's order, the last run first, all of them below a node."
  @spec of_runs(t(), non_neg_integer(), [Tree.run()]) :: Bits.t()
  def of_runs(%__MODULE__{tree: tree, all: all} = vocabulary, node, runs) do
    with %{^node => every} <- all,
         {first, last} = whole = Tree.run(tree, node),
         true <- 2 * Enum.sum_by(runs, fn {from, to} -> to - from end) > last - first do
      # Fewer tokens are left out.
      every - bits(vocabulary, node, Tree.tokens(tree, Tree.gaps(runs, whole)))
    else
      _few -> bits(vocabulary, node, Tree.tokens(tree, runs))
    end
  end

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
    if start, do: at_start(bytes, vocabulary.start_bytes), else: bytes
  end
end
