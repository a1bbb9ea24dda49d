defmodule Mlx.LM.Grammar.Expression do
  @moduledoc false
  # What texts are made of: a tree that the readers of schemas, regular expressions and grammars write, and of which
  # `Mlx.LM.Grammar.Fragment` makes automata.
  #
  #   | node | its texts |
  #   | --- | --- |
  #   | `{:bytes, binary}` | these bytes |
  #   | `{:set, ranges}` | one character of these ranges of code points |
  #   | `{:seq, nodes}` | one of each, in order |
  #   | `{:alt, nodes}` | those of any; none where there is no node |
  #   | `{:repeat, node, min, max}` | from `min` to `max` of the node; `max` may be `:infinity` |
  #   | `{:ref, name}` | those of a rule |
  #   | `{:count, node, min, max}` | as `:repeat`, with a counter in place of a state for each number. The node is regular, none of its texts begins with another, and what follows begins with no byte of them |
  #   | `{:members, [{node, required}], separator, more}` | the nodes in order, those that are not required or not; then any number of `more`, where that is not nil; separators between them |
  #   | `{:both, a, b}` | those of two regular nodes |
  #   | `{:except, a, b}` | those of `a` that are none of `b`, both regular |
  #   | `{:length, node, min, max}` | those of a regular node that have so many characters |
  #   | `{:escaped, node}` | those of a regular node as JSON writes them inside of a string |
  #   | `{:multiple, number}` | decimal digits of a multiple of the number |

  @type t :: tuple()
  @type ranges :: [{non_neg_integer(), non_neg_integer()}]

  @last 0x10FFFF

  @doc "The empty text."
  @spec empty() :: t()
  def empty, do: {:bytes, ""}

  @doc "No text at all."
  @spec never() :: t()
  def never, do: {:alt, []}

  @doc "One of each, in order."
  @spec seq([t()]) :: t()
  def seq(nodes) do
    nodes
    |> Enum.flat_map(fn
      {:seq, nodes} -> nodes
      {:bytes, ""} -> []
      node -> [node]
    end)
    |> joined()
    |> case do
      [] -> empty()
      [node] -> node
      nodes -> {:seq, nodes}
    end
  end

  defp joined([{:bytes, a}, {:bytes, b} | rest]), do: joined([{:bytes, a <> b} | rest])
  defp joined([node | rest]), do: [node | joined(rest)]
  defp joined([]), do: []

  @doc "Any of these."
  @spec alt([t()]) :: t()
  def alt(nodes) do
    nodes
    |> Enum.flat_map(fn
      {:alt, nodes} -> nodes
      node -> [node]
    end)
    |> Enum.uniq()
    |> case do
      [node] -> node
      nodes -> {:alt, nodes}
    end
  end

  @doc "The node, or nothing."
  @spec optional(t()) :: t()
  def optional(node), do: {:repeat, node, 0, 1}

  @doc "Any character."
  @spec any() :: t()
  def any, do: {:set, complement([])}

  @doc "The code points of characters that are in none of the ranges. Surrogates are no characters."
  @spec complement(ranges()) :: ranges()
  def complement(ranges) do
    {from, gaps} =
      [{0xD800, 0xDFFF} | ranges]
      |> union()
      |> Enum.reduce({0, []}, fn {low, high}, {from, gaps} ->
        {high + 1, if(low > from, do: [{from, low - 1} | gaps], else: gaps)}
      end)

    Enum.reverse(if from <= @last, do: [{from, @last} | gaps], else: gaps)
  end

  @doc "The ranges in order, without overlaps."
  @spec union(ranges()) :: ranges()
  def union(ranges) do
    ranges
    |> Enum.sort()
    |> Enum.reduce([], fn
      {low, high}, [{first, last} | done] when low <= last + 1 -> [{first, max(last, high)} | done]
      range, done -> [range | done]
    end)
    |> Enum.reverse()
  end

  @doc "The code points of both."
  @spec intersection(ranges(), ranges()) :: ranges()
  def intersection(a, b) do
    union(for {al, ah} <- a, {bl, bh} <- b, low = max(al, bl), high = min(ah, bh), low <= high, do: {low, high})
  end

  @doc "The names of the rules that a node refers to."
  @spec refs(t()) :: [term()]
  def refs(node), do: node |> collect([]) |> Enum.uniq()

  defp collect({:ref, name}, names), do: [name | names]
  defp collect({kind, nodes}, names) when kind in [:seq, :alt], do: Enum.reduce(nodes, names, &collect/2)
  defp collect({kind, node, _min, _max}, names) when kind in [:repeat, :length, :count], do: collect(node, names)

  defp collect({:members, members, separator, more}, names) do
    nodes = [separator | for({node, _required} <- members, do: node)] ++ List.wrap(more)
    Enum.reduce(nodes, names, &collect/2)
  end

  defp collect({kind, a, b}, names) when kind in [:both, :except], do: collect(b, collect(a, names))
  defp collect({:escaped, node}, names), do: collect(node, names)
  defp collect(_leaf, names), do: names

  @doc "Whether the empty text is one of the node's, where `nullable` are the rules of which that is known."
  @spec nullable?(t(), MapSet.t()) :: boolean()
  def nullable?({:bytes, bytes}, _known), do: bytes == ""
  def nullable?({:set, _ranges}, _known), do: false
  def nullable?({:seq, nodes}, known), do: Enum.all?(nodes, &nullable?(&1, known))
  def nullable?({:alt, nodes}, known), do: Enum.any?(nodes, &nullable?(&1, known))
  def nullable?({kind, node, min, _max}, known) when kind in [:repeat, :count], do: min == 0 or nullable?(node, known)
  def nullable?({:ref, name}, known), do: MapSet.member?(known, name)

  def nullable?({:members, members, _separator, _more}, known),
    do: Enum.all?(members, fn {node, required} -> not required or nullable?(node, known) end)

  def nullable?({:both, a, b}, known), do: nullable?(a, known) and nullable?(b, known)
  def nullable?({:except, a, b}, known), do: nullable?(a, known) and not nullable?(b, known)
  def nullable?({:length, node, min, _max}, known), do: min == 0 and nullable?(node, known)
  def nullable?({:escaped, node}, known), do: nullable?(node, known)
  def nullable?({:multiple, _number}, _known), do: false
end
