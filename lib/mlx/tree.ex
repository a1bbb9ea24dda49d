defmodule Mlx.Tree do
  @moduledoc """
  Containers of arrays: lists, tuples, maps and structs, at any depth.

  A model, its gradients and the state of an optimizer are such containers. What is neither an array nor a container
  is a leaf without arrays.
  """

  alias Mlx.Array

  @doc """
  The arrays of a container, in the order of its elements, and of the keys of its maps.

      iex> Mlx.Tree.arrays(%{b: [Mlx.array(1), :other], a: {Mlx.array(2)}}) |> Enum.map(&Mlx.to_number/1)
      [2, 1]
  """
  @spec arrays(term()) :: [Array.t()]
  def arrays(%Array{} = array), do: [array]
  def arrays(container), do: container |> collect([]) |> Enum.reverse()

  defp collect(%Array{} = array, found), do: [array | found]
  defp collect(list, found) when is_list(list), do: collect_list(list, found)
  defp collect(tuple, found) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> collect_list(found)
  defp collect(%_{} = struct, found), do: struct |> Map.from_struct() |> collect(found)

  defp collect(map, found) when is_map(map) do
    map |> Enum.sort_by(&elem(&1, 0)) |> Enum.reduce(found, fn {_key, value}, found -> collect(value, found) end)
  end

  defp collect(_leaf, found), do: found

  defp collect_list([element | rest], found), do: collect_list(rest, collect(element, found))
  defp collect_list([], found), do: found
  defp collect_list(tail, found), do: collect(tail, found)

  @doc """
  The container with other arrays, given in the order of `arrays/1`.

      iex> container = {Mlx.array(1), %{rate: 0.1, weight: Mlx.array(2)}}
      iex> {a, %{rate: 0.1, weight: b}} = Mlx.Tree.with_arrays(container, [Mlx.array(10), Mlx.array(20)])
      iex> Enum.map([a, b], &Mlx.to_number/1)
      [10, 20]
  """
  @spec with_arrays(container, [Array.t()]) :: container when container: term()
  def with_arrays(container, arrays) do
    case fill(container, arrays) do
      {filled, []} -> filled
      {_filled, _rest} -> raise ArgumentError, "Mlx.Tree.with_arrays: there are more arrays than the container holds"
    end
  end

  defp fill(%Array{}, [array | rest]), do: {array, rest}
  defp fill(%Array{}, []), do: raise(ArgumentError, "Mlx.Tree.with_arrays: the container holds more arrays than given")
  defp fill([element | rest], arrays), do: fill_list(element, rest, arrays)

  defp fill(tuple, arrays) when is_tuple(tuple) do
    {elements, arrays} = tuple |> Tuple.to_list() |> fill(arrays)
    {List.to_tuple(elements), arrays}
  end

  defp fill(%module{} = struct, arrays) do
    {map, arrays} = struct |> Map.from_struct() |> fill(arrays)
    {Map.put(map, :__struct__, module), arrays}
  end

  defp fill(map, arrays) when is_map(map) do
    {pairs, arrays} =
      map
      |> Enum.sort_by(&elem(&1, 0))
      |> Enum.map_reduce(arrays, fn {key, value}, arrays ->
        {value, arrays} = fill(value, arrays)
        {{key, value}, arrays}
      end)

    {Map.new(pairs), arrays}
  end

  defp fill(leaf, arrays), do: {leaf, arrays}

  defp fill_list(element, rest, arrays) do
    {element, arrays} = fill(element, arrays)
    {rest, arrays} = fill(rest, arrays)
    {[element | rest], arrays}
  end

  @doc """
  The container with each array changed by a function.

      iex> Mlx.Tree.map(%{a: Mlx.array(1), b: [Mlx.array(2)]}, &Mlx.add(&1, 1)) |> Mlx.Tree.arrays() |> Enum.map(&Mlx.to_number/1)
      [2, 3]

  Python: `mlx.utils.tree_map`.
  """
  @spec map(term(), (Array.t() -> Array.t())) :: term()
  def map(container, fun), do: with_arrays(container, container |> arrays() |> Enum.map(fun))
end
