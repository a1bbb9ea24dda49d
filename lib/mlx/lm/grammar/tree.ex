defmodule Mlx.LM.Grammar.Tree do
  @moduledoc false
  # A tree of the beginnings of tokens, with several roots.
  #
  # The nodes are records in one binary, each before those below it: the last byte of the beginning, the number of the node behind
  # all that are below it, the token that it is plus one, or 0, the kinds of the bytes below it (`Mlx.LM.Grammar.Kinds`), and how
  # many tokens come before it. So the tokens below a node are a run of all tokens in the order of the tree, which is that of
  # their bytes. Behind the last node there is one more record.

  alias Mlx.LM.Grammar.Kinds

  @record 21

  @enforce_keys [:nodes, :order, :lengths]
  defstruct @enforce_keys

  @typedoc "Tokens in the order of the tree, from one to before another."
  @type run :: {from :: non_neg_integer(), to :: non_neg_integer()}

  @typedoc "The records, the tokens in their order, and how many characters each of those has."
  @type t :: %__MODULE__{nodes: binary(), order: binary(), lengths: binary()}

  @doc "The tree of several lists of `{bytes, token}`, each in the order of its bytes, and the roots."
  @spec new([[{binary(), non_neg_integer()}]]) :: {t(), [non_neg_integer()]}
  def new(lists) do
    {parts, {nodes, count}} =
      Enum.map_reduce(lists, {0, 0}, fn tokens, {root, count} ->
        {records, next, last, _kinds, _places} = below(tokens, 0, root + 1, count)
        {{root, [record(0, next, 0, 0, count) | records]}, {next, last}}
      end)

    tokens = Enum.concat(lists)

    tree = %__MODULE__{
      nodes: IO.iodata_to_binary([Enum.map(parts, &elem(&1, 1)), record(0, nodes, 0, 0, count)]),
      order: for({_bytes, id} <- tokens, into: <<>>, do: <<id::32>>),
      lengths: for({bytes, _id} <- tokens, into: <<>>, do: <<characters(bytes)::16>>)
    }

    {tree, Enum.map(parts, &elem(&1, 0))}
  end

  defp record(byte, behind, token, kinds, count), do: <<byte, behind::32, token::32, kinds::64, count::32>>

  # Bytes behind the first one of a character do not count.
  defp characters(bytes), do: min(for(<<byte <- bytes>>, byte not in 0x80..0xBF, reduce: 0, do: (n -> n + 1)), 0xFFFF)

  # The records below a node, the next node, the next token, and the kinds and places of their bytes.
  defp below(tokens, depth, number, count) do
    tokens
    |> Enum.chunk_by(fn {bytes, _id} -> :binary.at(bytes, depth) end)
    |> Enum.reduce({[], number, count, 0, Kinds.everywhere()}, fn [{bytes, id} | rest] = group, all ->
      {records, number, count, kinds, places} = all
      byte = :binary.at(bytes, depth)
      {token, group} = if byte_size(bytes) == depth + 1, do: {id + 1, rest}, else: {0, group}
      {inner, next, last, inside, from} = below(group, depth + 1, number + 1, count + min(token, 1))
      record = record(byte, next, token, Kinds.below(inside, from), count)
      kinds = Bitwise.bor(kinds, Bitwise.bor(Kinds.of(byte), inside))
      {[records, record | inner], next, last, kinds, Bitwise.band(places, Kinds.before(byte, from))}
    end)
  end

  @doc "The bytes that it takes."
  @spec bytes(t()) :: non_neg_integer()
  def bytes(tree), do: byte_size(tree.nodes) + byte_size(tree.order) + byte_size(tree.lengths)

  @doc "How many bytes a record of `nodes` has."
  @spec record() :: pos_integer()
  def record, do: @record

  @doc "The byte of a node, the node behind all below it, its token plus one, the kinds below it, and the tokens before it."
  @spec node(t(), non_neg_integer()) :: {byte(), pos_integer(), non_neg_integer(), Kinds.t(), non_neg_integer()}
  def node(%__MODULE__{nodes: nodes}, number) do
    skipped = @record * number
    <<_::binary-size(^skipped), byte, behind::32, token::32, kinds::64, count::32, _::binary>> = nodes
    {byte, behind, token, kinds, count}
  end

  @doc "The tokens before a node."
  @spec before(t(), non_neg_integer()) :: non_neg_integer()
  def before(tree, number), do: tree |> node(number) |> elem(4)

  @doc "The run of the tokens of a node and below it."
  @spec run(t(), non_neg_integer()) :: run()
  def run(tree, number) do
    {_byte, behind, _token, _kinds, count} = node(tree, number)
    {count, before(tree, behind)}
  end

  @doc "Runs, the last one first, with one more at the end."
  @spec put([run()], run()) :: [run()]
  def put([{from, same} | runs], {same, to}), do: [{from, to} | runs]
  def put(runs, run), do: [run | runs]

  @doc "What lies between runs, the last one first, in a whole run."
  @spec gaps([run()], run()) :: [run()]
  def gaps([{from, to} | runs], {first, last}) when to < last, do: [{to, last} | gaps([{from, to} | runs], {first, to})]
  def gaps([{from, _to} | runs], {first, _last}), do: gaps(runs, {first, from})
  def gaps([], {same, same}), do: []
  def gaps([], whole), do: [whole]

  @doc "The tokens of runs, or of a node and below it."
  @spec tokens(t(), [run()] | non_neg_integer()) :: [non_neg_integer()]
  def tokens(tree, number) when is_integer(number), do: tokens(tree, [run(tree, number)])

  def tokens(%__MODULE__{order: order}, runs) do
    for {from, to} <- runs, <<id::32 <- binary_part(order, 4 * from, 4 * (to - from))>>, do: id
  end

  @doc "The tokens of a run by how many characters they have."
  @spec by_length(t(), run()) :: %{non_neg_integer() => [non_neg_integer()]}
  def by_length(%__MODULE__{lengths: lengths} = tree, {from, to} = run) do
    lengths = for <<length::16 <- binary_part(lengths, 2 * from, 2 * (to - from))>>, do: length
    lengths |> Enum.zip(tokens(tree, [run])) |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
  end
end
