defmodule Mlx.LM.Grammar.Tree do
  @moduledoc false
  # A tree of the beginnings of tokens, with several roots.
  #
  # The nodes are records in one binary, each before those below it: the last byte of the beginning, the kinds of the bytes below
  # it (`Mlx.LM.Grammar.Kinds`), the number of the node behind all that are below it, and how many tokens come before it. So the
  # tokens below a node are a run of all tokens in the order of the tree, which is that of their bytes, and so are the tokens
  # that are the node itself: those before the next record. Behind the last node there is one more. Native code reads this, too
  # (`core/grammars`).

  alias Mlx.LM.Grammar.Kinds

  @record 16

  @enforce_keys [:nodes, :order]
  defstruct @enforce_keys

  @typedoc "Tokens in the order of the tree, from one to before another."
  @type run :: {from :: non_neg_integer(), to :: non_neg_integer()}

  @typedoc "The records, and the tokens in their order, as numbers of 32 bits."
  @type t :: %__MODULE__{nodes: binary(), order: binary()}

  @doc "The tree of several lists of `{bytes, tokens of these bytes}`, each in the order of its bytes, and the roots."
  @spec new([[{binary(), [non_neg_integer(), ...]}]]) :: {t(), [non_neg_integer()]}
  def new(lists) do
    {parts, {nodes, count}} =
      Enum.map_reduce(lists, {0, 0}, fn tokens, {root, count} ->
        {records, next, last, _kinds, _places} = below(tokens, 0, root + 1, count)
        {{root, [record(0, 0, next, count) | records]}, {next, last}}
      end)

    tree = %__MODULE__{
      nodes: IO.iodata_to_binary([Enum.map(parts, &elem(&1, 1)), record(0, 0, nodes, count)]),
      order: for(tokens <- lists, {_bytes, ids} <- tokens, id <- ids, into: <<>>, do: <<id::32-little>>)
    }

    {tree, Enum.map(parts, &elem(&1, 0))}
  end

  defp record(byte, kinds, behind, count), do: <<byte, kinds::56-little, behind::32-little, count::32-little>>

  # The records below a node, the next node, the next token, and the kinds and places of their bytes.
  defp below(tokens, depth, number, count) do
    tokens
    |> Enum.chunk_by(fn {bytes, _ids} -> :binary.at(bytes, depth) end)
    |> Enum.reduce({[], number, count, 0, Kinds.everywhere()}, fn [{bytes, ids} | rest] = group, all ->
      {records, number, count, kinds, places} = all
      byte = :binary.at(bytes, depth)
      {own, group} = if byte_size(bytes) == depth + 1, do: {length(ids), rest}, else: {0, group}
      {inner, next, last, inside, from} = below(group, depth + 1, number + 1, count + own)
      record = record(byte, Kinds.below(inside, from), next, count)
      kinds = Bitwise.bor(kinds, Bitwise.bor(Kinds.of(byte), inside))
      {[records, record | inner], next, last, kinds, Bitwise.band(places, Kinds.before(byte, from))}
    end)
  end

  @doc "The bytes that it takes."
  @spec bytes(t()) :: non_neg_integer()
  def bytes(tree), do: byte_size(tree.nodes) + byte_size(tree.order)

  @doc "The byte of a node, the node behind all below it, the kinds below it, and the tokens before it."
  @spec node(t(), non_neg_integer()) :: {byte(), pos_integer(), Kinds.t(), non_neg_integer()}
  def node(%__MODULE__{nodes: nodes}, number) do
    skipped = @record * number
    <<_::binary-size(^skipped), byte, kinds::56-little, behind::32-little, count::32-little, _::binary>> = nodes
    {byte, behind, kinds, count}
  end

  @doc "The tokens before a node."
  @spec before(t(), non_neg_integer()) :: non_neg_integer()
  def before(tree, number), do: tree |> node(number) |> elem(3)

  @doc "The run of the tokens of a node and below it."
  @spec run(t(), non_neg_integer()) :: run()
  def run(tree, number) do
    {_byte, behind, _kinds, count} = node(tree, number)
    {count, before(tree, behind)}
  end

  @doc "The tokens of runs."
  @spec tokens(t(), [run()]) :: [non_neg_integer()]
  def tokens(%__MODULE__{order: order}, runs) do
    for {from, to} <- runs, <<id::32-little <- binary_part(order, 4 * from, 4 * (to - from))>>, do: id
  end
end
