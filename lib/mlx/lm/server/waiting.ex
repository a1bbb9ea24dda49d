defmodule Mlx.LM.Server.Waiting do
  @moduledoc false
  # The requests that wait for a slot: those of the highest priority first, and among them those that came first.

  @opaque t :: {:gb_trees.tree({integer(), integer()}, reference()), %{reference() => {integer(), integer()}}}

  @doc "Nobody waits."
  @spec new() :: t()
  def new, do: {:gb_trees.empty(), %{}}

  @doc "How many wait."
  @spec size(t()) :: non_neg_integer()
  def size({tree, _keys}), do: :gb_trees.size(tree)

  @doc "A request waits, too."
  @spec put(t(), reference(), integer()) :: t()
  def put({tree, keys}, ref, priority) do
    key = {-priority, System.unique_integer([:monotonic])}
    {:gb_trees.insert(key, ref, tree), Map.put(keys, ref, key)}
  end

  @doc "The one that is next; nil where nobody waits."
  @spec first(t()) :: reference() | nil
  def first({tree, _keys}) do
    if :gb_trees.is_empty(tree), do: nil, else: elem(:gb_trees.smallest(tree), 1)
  end

  @doc "A request waits no more, if it did."
  @spec delete(t(), reference()) :: t()
  def delete({tree, keys} = waiting, ref) do
    case Map.pop(keys, ref) do
      {nil, _keys} -> waiting
      {key, keys} -> {:gb_trees.delete(key, tree), keys}
    end
  end
end
