defmodule Mlx.Differential.Places do
  @moduledoc "Random places in arrays: indices along an axis, coordinates, and slices."

  import Mlx.Differential.{Draw, Indices}
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Differential.Python

  @doc "An array, indices along one of its axes, and the axis."
  def x_and_indices do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    axis = axis(x.shape)
    position = if axis < 0, do: axis + tuple_size(x.shape), else: axis
    {x, indices("i", put_elem(x.shape, position, one_of(0..4)), size_along(x.shape, axis)), axis}
  end

  @doc "An array, coordinates of elements or parts of it, these in Python, and the shape of what they select."
  def coordinates do
    x = random("x", shape: shape(rank: 1..3, empty: false), values: :positive)
    size = x.shape |> Tuple.to_list() |> Enum.min()
    columns = one_of(1..tuple_size(x.shape))
    shape = List.to_tuple(several(one_of(0..2), fn -> one_of(1..4) end) ++ [columns])
    indices = indices("i", shape, size)
    rest = x.shape |> Tuple.to_list() |> Enum.drop(columns)
    selected = List.to_tuple((shape |> Tuple.to_list() |> Enum.drop(-1)) ++ rest)
    {x, indices, Python.tuple(for(column <- 0..(columns - 1), do: "#{indices}[..., #{column}]")), selected}
  end

  @doc "The start and the length of a part of an axis."
  def block(size) do
    start = one_of(0..(size - 1))
    {start, one_of(0..(size - start))}
  end

  @doc "Slices in Python, of starts and lengths."
  def slices(block, strides) do
    block
    |> Enum.zip(strides)
    |> Enum.map(fn {{start, length}, stride} -> "slice(#{start}, #{start + length}, #{stride})" end)
    |> Python.tuple()
  end

  @doc "An array of starts in Python."
  def start_array(starts), do: "mx.stack([#{Enum.map_join(starts, ", ", &"#{&1}.astype(mx.int32)")}])"
end
