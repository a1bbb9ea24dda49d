defmodule Mlx.LM.Tokenizer.Trie do
  @moduledoc false
  # The tokens of a vocabulary by their characters, from which all those are found that a text begins with.
  #
  # It is a table outside of all heaps. Its keys are edges, `node <<< 21 ||| character`, and its values what is behind them,
  # `next <<< 26 ||| id + 1 <<< 1 ||| more`: the node there, the token that ends there, if one does, and whether a longer one
  # goes on. Node 0 is the beginning.

  import Bitwise

  alias Mlx.LM.Tokenizer.Table

  @character_bits 21
  @node_shift 26
  @ids 0x1FFFFFF

  @type t :: Table.t()
  @type tree_node :: non_neg_integer

  @doc "The trie of tokens and their ids."
  @spec new(%{String.t() => non_neg_integer}) :: t
  def new(vocabulary) do
    {edges, _nodes} =
      Enum.reduce(vocabulary, {%{}, 1}, fn {token, id}, built -> add(token, 0, (id + 1) <<< 1, built) end)

    Table.new(edges)
  end

  defp add(<<code::utf8, rest::binary>>, node, id, {edges, nodes}) do
    edge = node <<< @character_bits ||| code
    here = if rest == "", do: id, else: 1

    case edges do
      %{^edge => behind} -> add(rest, behind >>> @node_shift, id, {%{edges | edge => behind ||| here}, nodes})
      _new -> add(rest, nodes, id, {Map.put(edges, edge, nodes <<< @node_shift ||| here), nodes + 1})
    end
  end

  # No text has what is not UTF-8.
  defp add(_end, _node, _id, built), do: built

  @doc "What is behind a node and a character: the node there or nil, and the token that ends there or nil."
  @spec step(t, tree_node, char) :: {tree_node | nil, non_neg_integer | nil}
  def step(trie, node, code) do
    case Table.get(trie, node <<< @character_bits ||| code) do
      nil -> {nil, nil}
      behind -> {if((behind &&& 1) == 1, do: behind >>> @node_shift), id(behind >>> 1 &&& @ids)}
    end
  end

  defp id(0), do: nil
  defp id(number), do: number - 1

  @doc "The node behind a text, or nil when no token goes on there."
  @spec walk(t, tree_node | nil, String.t()) :: tree_node | nil
  def walk(_trie, nil, _text), do: nil
  def walk(_trie, node, ""), do: node
  def walk(trie, node, <<code::utf8, rest::binary>>), do: walk(trie, trie |> step(node, code) |> elem(0), rest)
end
