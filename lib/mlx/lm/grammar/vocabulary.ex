defmodule Mlx.LM.Grammar.Vocabulary do
  @moduledoc false
  # The bytes of a tokenizer's tokens, as a tree of their beginnings.
  #
  # The nodes of the tree are records of 9 bytes in one binary, each before those below it: the last byte of the beginning, the
  # number of the node behind all that are below it, and the token that it is plus one, or 0. Two nodes are roots: that of
  # all tokens inside of a text, and that of tokens at its start, where SentencePiece leaves out a space.

  alias Mlx.LM.Grammar.Cache
  alias Mlx.LM.Tokenizer

  @enforce_keys [:nodes, :inside, :start, :same, :bytes, :places, :start_bytes, :size, :single, :end_ids, :key]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          nodes: binary(),
          inside: non_neg_integer(),
          start: non_neg_integer(),
          same: %{non_neg_integer() => [non_neg_integer()]},
          bytes: binary(),
          places: binary(),
          start_bytes: :same | :stripped | :spaces_stripped,
          size: pos_integer(),
          single: binary(),
          end_ids: MapSet.t(non_neg_integer()),
          key: binary()
        }

  @record 9

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
    do: byte_size(vocabulary.nodes) + byte_size(vocabulary.bytes) + byte_size(vocabulary.places)

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
    inside = tree(Enum.map(distinct, &hd/1), 0)

    {start, at_start, same} =
      case start_bytes do
        :same -> {0, [], same}
        _stripped -> stripped_tree(tokens, start_bytes, div(IO.iodata_length(inside), @record), same)
      end

    by_id = Map.new(tokens, fn {bytes, id} -> {id, bytes} end)

    {places, _size} =
      Enum.map_reduce(0..size, 0, fn id, place -> {<<place::32>>, place + byte_size(Map.get(by_id, id, ""))} end)

    nodes = IO.iodata_to_binary([inside | at_start])

    %__MODULE__{
      nodes: nodes,
      inside: 0,
      start: start,
      same: same,
      bytes: for(id <- 0..(size - 1), into: <<>>, do: Map.get(by_id, id, "")),
      places: IO.iodata_to_binary(places),
      start_bytes: start_bytes,
      size: size,
      single: single(by_id),
      end_ids: MapSet.new(),
      key: :erlang.md5([nodes, :erlang.term_to_binary({start, same})])
    }
  end

  # Tokens that are the same at the start need not be the same inside, so that they stand below each other's numbers there.
  defp stripped_tree(tokens, start_bytes, first, same) do
    distinct =
      tokens
      |> Enum.map(fn {bytes, id} -> {at_start(bytes, start_bytes), id} end)
      |> Enum.reject(&match?({"", _id}, &1))
      |> Enum.sort()
      |> Enum.chunk_by(&elem(&1, 0))

    more = for [{_bytes, id}, _second | _] = all <- distinct, into: %{}, do: {{:start, id}, Enum.map(all, &elem(&1, 1))}
    {first, tree(Enum.map(distinct, &hd/1), first), Map.merge(same, more)}
  end

  defp at_start(bytes, :same), do: bytes
  defp at_start(<<" ", rest::binary>>, :stripped), do: rest
  defp at_start(<<" ", rest::binary>>, :spaces_stripped), do: :binary.replace(rest, " ", "", [:global])
  defp at_start(bytes, :spaces_stripped), do: :binary.replace(bytes, " ", "", [:global])
  defp at_start(bytes, _stripped), do: bytes

  # The records of a tree whose root has the number `first`, of tokens in the order of their bytes.
  defp tree(tokens, first) do
    {records, next} = below(tokens, 0, first + 1)
    [<<0, next::32, 0::32>> | records]
  end

  defp below(tokens, depth, number) do
    tokens
    |> Enum.chunk_by(fn {bytes, _id} -> :binary.at(bytes, depth) end)
    |> Enum.map_reduce(number, fn [{bytes, id} | rest] = group, number ->
      {token, group} = if byte_size(bytes) == depth + 1, do: {id + 1, rest}, else: {0, group}
      {records, next} = below(group, depth + 1, number + 1)
      {[<<:binary.at(bytes, depth), next::32, token::32>> | records], next}
    end)
  end

  # Of each byte 1 where it can be written. Where the vocabulary has tokens for single bytes, as byte-level and SentencePiece
  # ones do, those without one are left out, so that no text begins that cannot end.
  defp single(by_id) do
    texts = by_id |> Map.values() |> IO.iodata_to_binary()
    used = for byte <- 0..255, :binary.match(texts, <<byte>>) != :nomatch, into: MapSet.new(), do: byte
    alone = for {_id, <<byte>>} <- by_id, into: MapSet.new(), do: byte
    kept = if Enum.count(@bytes, &(&1 in alone)) >= 32, do: alone, else: used
    for byte <- 0..255, into: <<>>, do: if(byte in kept, do: <<1>>, else: <<0>>)
  end

  @doc "The byte, the node behind all below, and the token plus one of a node."
  @spec node(t(), non_neg_integer()) :: {byte(), pos_integer(), non_neg_integer()}
  def node(%__MODULE__{nodes: nodes}, number) do
    skipped = @record * number
    <<_::binary-size(^skipped), byte, next::32, token::32, _::binary>> = nodes
    {byte, next, token}
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
