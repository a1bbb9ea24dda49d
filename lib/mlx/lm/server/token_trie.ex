defmodule Mlx.LM.Server.TokenTrie do
  @moduledoc false
  # A map whose keys are lists of tokens, which finds the keys that begin as a list does. Tokens that several keys have in
  # common lie there once: a node has the tokens that lead to it, what lies there, and its children by their first token.

  @opaque t :: node_
  @typep node_ :: {label :: [non_neg_integer()], value :: {:ok, term()} | nil, %{non_neg_integer() => node_}}

  @type id :: term()

  @doc "An empty trie."
  @spec new() :: t()
  def new, do: {[], nil, %{}}

  @doc "The trie with a value at a key. What lay there goes."
  @spec put(t(), [non_neg_integer()], id()) :: t()
  def put({label, value, children}, tokens, id) do
    case split(label, tokens, []) do
      {_common, [], []} -> {label, {:ok, id}, children}
      {_common, [], [first | _] = rest} -> {label, value, Map.put(children, first, child(children[first], rest, id))}
      {common, [first | _] = rest, []} -> {common, {:ok, id}, %{first => {rest, value, children}}}
      {common, [a | _] = old, [b | _] = new} -> {common, nil, %{a => {old, value, children}, b => child(nil, new, id)}}
    end
  end

  defp child(nil, tokens, id), do: {tokens, {:ok, id}, %{}}
  defp child(node, tokens, id), do: put(node, tokens, id)

  @doc "The trie without a key."
  @spec delete(t(), [non_neg_integer()]) :: t()
  def delete(trie, tokens), do: removed(trie, tokens) || new()

  # The node, or nil where nothing is left of it.
  defp removed({label, value, children} = node, tokens) do
    case split(label, tokens, []) do
      {_common, [], []} -> joined(label, nil, children)
      {_common, [], [first | _] = rest} when is_map_key(children, first) -> without(label, value, children, first, rest)
      _not_there -> node
    end
  end

  defp without(label, value, children, first, rest) do
    case removed(children[first], rest) do
      nil -> joined(label, value, Map.delete(children, first))
      child -> joined(label, value, %{children | first => child})
    end
  end

  defp joined(_label, nil, children) when children == %{}, do: nil

  defp joined(label, nil, children) when map_size(children) == 1 do
    [{_first, {more, value, below}}] = Map.to_list(children)
    {label ++ more, value, below}
  end

  defp joined(label, value, children), do: {label, value, children}

  @doc """
  What is known of the beginning of tokens: the values whose whole keys they begin with, `[{length, value}]` with the longest
  first, and the value of a key that has the most of the first tokens in common, `{count, value}`, or nil.
  """
  @spec find(t(), [non_neg_integer()]) :: {[{non_neg_integer(), id()}], {non_neg_integer(), id()} | nil}
  def find(trie, tokens), do: find(trie, tokens, 0, [])

  defp find({label, value, children} = node, tokens, before, whole) do
    case split(label, tokens, []) do
      {_common, [], rest} ->
        count = before + length(label)
        whole = with({:ok, id} <- value, do: [{count, id} | whole]) || whole

        case rest do
          [first | _] when is_map_key(children, first) -> find(children[first], rest, count, whole)
          _nothing_more -> {whole, some(node, count)}
        end

      {common, _label, _rest} ->
        {whole, some(node, before + length(common))}
    end
  end

  defp some({_label, {:ok, id}, _children}, count), do: {count, id}
  defp some({_label, nil, children}, _count) when children == %{}, do: nil
  defp some({_label, nil, children}, count), do: children |> Map.values() |> hd() |> some(count)

  # What two lists begin with, and what is left of each.
  defp split([token | a], [token | b], common), do: split(a, b, [token | common])
  defp split(a, b, common), do: {Enum.reverse(common), a, b}
end
