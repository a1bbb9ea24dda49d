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
end
