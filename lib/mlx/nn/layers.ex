defmodule Mlx.NN.Layers do
  @moduledoc false
  # The layers in a container: the structs that are no arrays, with their paths. A group of processes is none either.

  alias Mlx.Array
  alias Mlx.Distributed.Group
  alias Mlx.Tree.{Elements, Paths}

  @doc "Whether a module derives `Mlx.NN.Layer`."
  @spec derives?(module()) :: boolean()
  def derives?(module), do: marked?(module) or (Code.ensure_loaded?(module) and marked?(module))

  defp marked?(module), do: function_exported?(module, :__layer__, 1)

  @doc "The names of the fields whose arrays training keeps as they are."
  @spec kept(struct()) :: [atom()]
  def kept(%module{}), do: if(derives?(module), do: module.__layer__(:kept), else: [])

  @doc "The layers with their paths, the inner ones of each before it."
  @spec all(term()) :: [{String.t(), struct()}]
  def all(container), do: container |> collect([], []) |> Enum.reverse()

  defp collect(%module{}, _keys, found) when module in [Array, Group], do: found

  defp collect(container, keys, found) do
    found =
      Enum.reduce(Elements.pairs(container), found, fn {key, part}, found -> collect(part, [key | keys], found) end)

    if is_struct(container), do: [{Paths.path(keys), container} | found], else: found
  end

  @doc "The container with each layer replaced by `fun.(path, layer)`, the inner ones of each before it."
  @spec map(term(), (String.t(), struct() -> term())) :: term()
  def map(container, fun), do: map(container, [], fun)

  defp map(%module{} = part, _keys, _fun) when module in [Array, Group], do: part

  defp map(container, keys, fun) do
    container = map_parts(container, Elements.pairs(container), keys, fun)
    if is_struct(container), do: fun.(Paths.path(keys), container), else: container
  end

  defp map_parts(other, [], _keys, _fun), do: other

  defp map_parts(container, pairs, keys, fun) do
    Elements.with_pairs(container, for({key, part} <- pairs, do: {key, map(part, [key | keys], fun)}))
  end
end
