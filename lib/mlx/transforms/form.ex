defmodule Mlx.Transforms.Form do
  @moduledoc false
  # What a compiled function has to know of its arguments: all but the contents of arrays.

  alias Mlx.{Array, Tree}

  # Numbers that the VM's floats cannot be.
  @not_finite [:nan, :infinity, :neg_infinity]

  @doc "The container without the contents of its arrays, and without their shapes, too, where any will do."
  @spec of(Tree.t(), shapeless :: boolean()) :: term()
  def of(container, shapeless) do
    Tree.map(container, fn %Array{shape: shape} = array ->
      %Array{array | ref: nil, shape: if(shapeless, do: tuple_size(shape), else: shape)}
    end)
  end

  @doc """
  What forms that differ only in numbers have in common.

      iex> Mlx.Transforms.Form.without_numbers(%{rate: 0.5, steps: [{2, "a"}, true]})
      %{rate: :float, steps: [{:integer, "a"}, true]}
  """
  @spec without_numbers(term()) :: term()
  def without_numbers(%Array{} = array), do: array
  def without_numbers(integer) when is_integer(integer), do: :integer
  def without_numbers(number) when is_float(number) or number in @not_finite, do: :float
  def without_numbers([head | tail]), do: [without_numbers(head) | without_numbers(tail)]
  def without_numbers(%{} = map), do: :maps.map(fn _key, value -> without_numbers(value) end, map)

  def without_numbers(tuple) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> without_numbers() |> List.to_tuple()

  def without_numbers(other), do: other
end
