defmodule Mlx.NN.Sharding do
  @moduledoc false
  # Arrays cut into equal parts, one for each process of a group.

  alias Mlx.{Array, Tree}
  alias Mlx.Arguments.{Given, Options}
  alias Mlx.Distributed.Group

  @typedoc "See `t:Mlx.NN.sharding/0`."
  @type sharding ::
          :all_to_sharded | :sharded_to_all | (String.t(), Array.t() -> nil | integer() | {integer(), segments()})

  @typedoc "See `Mlx.NN.shard/3`."
  @type segments :: pos_integer() | [non_neg_integer()] | [float()]

  @doc "The group and the segments among the options of a function."
  @spec options(keyword(), String.t()) :: {Group.t(), segments()}
  def options(options, "Mlx." <> name = function) do
    [group, segments] = Options.without_stream(options, :"#{name}", group: nil, segments: 1)
    {group!(group, function), segments}
  end

  @doc "The group that was given, or that of the virtual machine."
  @spec group!(Group.t() | nil, String.t()) :: Group.t()
  def group!(nil, _function), do: Mlx.Distributed.init()
  def group!(%Group{} = group, _function), do: group

  def group!(other, function) do
    raise ArgumentError, "#{function}: expected :group to be a Mlx.Distributed.Group, got: #{Given.text(other)}"
  end

  @doc "The share of one process in a size, which all have to share equally."
  @spec share!(pos_integer(), Group.t(), String.t(), String.t()) :: pos_integer()
  def share!(size, %Group{size: processes}, _what, _function) when rem(size, processes) == 0, do: div(size, processes)

  def share!(size, %Group{size: processes}, what, function) do
    raise ArgumentError, "#{function}: expected #{what} that #{processes} processes can share equally, got: #{size}"
  end

  @doc "The container with the part of this process in place of each array that the sharding gives an axis."
  @spec shard(Tree.t(), sharding(), segments(), Group.t(), String.t()) :: Tree.t()
  def shard(container, sharding, segments, group, function) do
    axis = axis_of(sharding, segments, function)
    Tree.map_with_path(container, fn path, array -> part(array, axis.(path, array), group, "#{function}: #{path}") end)
  end

  defp axis_of(:all_to_sharded, segments, _function) do
    fn path, array -> {if(bias?(path), do: -1, else: max(tuple_size(array.shape) - 2, 0)), segments} end
  end

  defp axis_of(:sharded_to_all, segments, _function), do: fn path, _array -> if not bias?(path), do: {-1, segments} end
  defp axis_of(fun, _segments, _function) when is_function(fun, 2), do: fun

  defp axis_of(other, _segments, function) do
    raise ArgumentError,
          "#{function}: expected :all_to_sharded, :sharded_to_all, or a function of a path and an array, " <>
            "got: #{Given.text(other)}"
  end

  defp bias?(path), do: String.ends_with?(path, "bias")

  defp part(array, nil, _group, _place), do: array
  defp part(array, axis, group, place) when is_integer(axis), do: part(array, {axis, 1}, group, place)

  defp part(%Array{shape: shape} = array, {axis, segments}, group, place)
       when is_integer(axis) and axis < tuple_size(shape) and axis >= -tuple_size(shape) do
    segments = Mlx.split(array, positions(segments, elem(shape, Integer.mod(axis, tuple_size(shape)))), axis: axis)
    segments |> Enum.map(&part_of_segment(&1, axis, group, place)) |> Mlx.concatenate(axis: axis) |> Mlx.contiguous()
  end

  defp part(%Array{shape: shape}, other, _group, place) do
    raise ArgumentError,
          "#{place}: expected nil, an axis of an array of the shape #{inspect(shape)}, or {axis, segments}, " <>
            "got: #{Given.text(other)}"
  end

  # Fractions of the axis, as in Python.
  defp positions([fraction | _] = fractions, size) when is_float(fraction), do: Enum.map(fractions, &trunc(&1 * size))
  defp positions(segments, _size), do: segments

  defp part_of_segment(%Array{shape: shape} = segment, axis, group, place) do
    axis = Integer.mod(axis, tuple_size(shape))
    size = share!(elem(shape, axis), group, "an axis", place)
    starts = for at <- 0..(tuple_size(shape) - 1), do: if(at == axis, do: group.rank * size, else: 0)
    Mlx.slice(segment, starts, shape |> put_elem(axis, size) |> Tuple.to_list())
  end
end
