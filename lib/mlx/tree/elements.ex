defmodule Mlx.Tree.Elements do
  @moduledoc false
  # The elements of a container, with the keys by which they are found in another container of the same form: the keys of
  # maps, structs and keyword lists, the indices of lists and tuples.

  alias Mlx.Array

  @typedoc "What the elements are in: what they can be put back into, and what differs between containers."
  @type form :: :list | :keyword | :tuple | :map | module() | :none

  @doc "The form of a container; `:none` for arrays and whatever else is no container."
  @spec form(term()) :: form()
  def form(%Array{}), do: :none
  def form(%module{}), do: module
  def form(map) when is_map(map), do: :map
  def form(tuple) when is_tuple(tuple), do: :tuple
  def form([_ | _] = list), do: if(keyword?(list), do: :keyword, else: :list)
  def form([]), do: :list
  def form(_other), do: :none

  # With a key twice it is a list of tuples.
  defp keyword?(list), do: Keyword.keyword?(list) and list |> Keyword.keys() |> Enum.uniq() |> length() == length(list)

  @doc "The elements with their keys, those of maps and structs in the order of the keys."
  @spec pairs(term()) :: [{term(), term()}]
  def pairs(container), do: container |> form() |> pairs(container)

  defp pairs(:none, _other), do: []
  defp pairs(:keyword, list), do: list
  defp pairs(:list, list), do: list |> proper!() |> Enum.with_index(fn element, index -> {index, element} end)
  defp pairs(:tuple, tuple), do: pairs(:list, Tuple.to_list(tuple))
  defp pairs(:map, map), do: map |> Map.to_list() |> List.keysort(0)
  defp pairs(_struct, struct), do: pairs(:map, Map.from_struct(struct))

  defp proper!(list) do
    if List.improper?(list), do: raise(ArgumentError, "Mlx.Tree: an improper list has no indices: #{inspect(list)}")
    list
  end

  @doc "A container like this one, with these pairs, in the order of `pairs/1`."
  @spec with_pairs(term(), [{term(), term()}]) :: term()
  def with_pairs(container, pairs) do
    case form(container) do
      :none -> container
      :keyword -> pairs
      :list -> values(pairs)
      :tuple -> pairs |> values() |> List.to_tuple()
      :map -> Map.new(pairs)
      module -> pairs |> Map.new() |> Map.put(:__struct__, module)
    end
  end

  defp values(pairs), do: for({_key, value} <- pairs, do: value)

  @doc "The element with a key of `pairs/1`. Keys of maps, structs and keyword lists find each other's elements."
  @spec fetch(term(), term()) :: {:ok, term()} | :error
  def fetch(%Array{}, _key), do: :error
  def fetch(map, key) when is_map(map), do: Map.fetch(map, key)
  def fetch(tuple, index) when is_tuple(tuple) and index in 0..(tuple_size(tuple) - 1)//1, do: {:ok, elem(tuple, index)}
  def fetch(list, index) when is_list(list) and is_integer(index), do: Enum.fetch(list, index)
  def fetch(list, key) when is_list(list) and is_atom(key), do: Keyword.fetch(list, key)
  def fetch(_other, _key), do: :error
end
