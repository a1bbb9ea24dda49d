defmodule Mlx.Conformance.Shapes do
  @moduledoc """
  Adapters for operations on shapes, and for those that take several arrays.
  """

  alias Mlx.Conformance.PythonError

  @doc "Two axes as an option."
  def two_axes(call, %{a: a, axis1: first, axis2: second}, options),
    do: call.([a], [{:axes, [first, second]} | options])

  @doc "`flatten(a, start_axis, end_axis)`: the axes that are joined."
  def flatten(call, %{a: a, start_axis: first, end_axis: last}, options) do
    rank = Mlx.rank(a)
    [from, to] = for axis <- [first, last], do: if(axis < 0, do: axis + rank, else: axis)

    cond do
      rank == 0 -> call.([a], options)
      from not in 0..(rank - 1) or to not in 0..(rank - 1) or from > to -> PythonError.value_error!("invalid axes")
      true -> call.([a], [{:axes, Enum.to_list(from..to)} | options])
    end
  end

  @doc "`x.reshape(2, 3)` and `x.reshape((2, 3))`."
  def reshape(call, %{self: self, shape: shape}, options), do: call.([self, List.to_tuple(integers_of(shape))], options)

  @doc "`x.transpose(1, 0)`, `x.transpose((1, 0))` and `x.transpose()`."
  def transpose(call, %{self: self, axes: axes}, options) do
    case axes do
      [] -> call.([self], options)
      [nil] -> call.([self], options)
      axes -> call.([self], [{:axes, integers_of(axes)} | options])
    end
  end

  @doc "Several arrays as one list; Python returns a tuple."
  def as_list(call, %{arrays: arrays}, options), do: List.to_tuple(call.([flat(arrays)], options))

  @doc "A list of arrays as Python's tuple."
  def as_tuple(call, %{x: x}, options), do: List.to_tuple(call.([x], options))

  @doc "`broadcast_shapes(*shapes)`, of one at least."
  def shapes(_call, %{shapes: []}, _options), do: PythonError.value_error!("broadcast_shapes: no shapes")
  def shapes(call, %{shapes: shapes}, _options), do: call.([shapes], [])

  @doc "`concatenate(arrays, axis)`, of the flattened arrays when the axis is `None`."
  def concatenate(call, %{arrays: arrays, axis: nil}, options) do
    call.([Enum.map(arrays, &Mlx.flatten/1)], options)
  end

  def concatenate(call, %{arrays: arrays, axis: axis}, options), do: call.([arrays], [{:axis, axis} | options])

  @doc "`atleast_1d(*arys)`: one array gives one, several give a list."
  def each(call, %{arys: [array]}, options), do: call.([array], options)
  def each(call, %{arys: arrays}, options), do: Enum.map(arrays, &call.([&1], options))

  @doc "`pad_width`: an integer, one pair, or a pair for each axis."
  def pad(call, %{a: a, pad_width: widths}, options), do: call.([a, widths(widths)], options)

  @doc "`roll(a, shift, axis)`: one axis takes all the shifts."
  def roll(call, %{a: a, shift: shift} = bound, options) do
    case bound[:axis] do
      nil ->
        call.([a, shift], options)

      axis when is_integer(axis) ->
        call.([a, shift], [{:axes, List.duplicate(axis, length(List.wrap(shift)))} | options])

      axes ->
        call.([a, shift], [{:axes, axes} | options])
    end
  end

  @doc "`as_strided(a, shape, strides, offset)`: without strides the elements lie row after row."
  def as_strided(call, %{a: a, shape: shape, strides: strides}, options) do
    shape = shape || a.shape
    call.([a, shape, strides || shape |> Tuple.to_list() |> row_major()], options)
  end

  defp row_major([]), do: []
  defp row_major([_size | sizes]), do: [Enum.product(sizes) | row_major(sizes)]

  defp widths({:tuple, widths}), do: widths(widths)
  defp widths([before, behind]) when is_integer(before) and is_integer(behind), do: {before, behind}
  defp widths([width]), do: widths(width)
  defp widths(widths) when is_list(widths), do: Enum.map(widths, &widths/1)
  defp widths(width), do: width

  defp integers_of([{:tuple, integers}]), do: integers_of(integers)
  defp integers_of([integers]) when is_list(integers), do: integers_of(integers)

  defp integers_of(integers) do
    unless Enum.all?(integers, &is_integer/1), do: PythonError.type_error!("expected integers")
    integers
  end

  defp flat([{:tuple, arrays}]), do: arrays
  defp flat([arrays]) when is_list(arrays), do: arrays
  defp flat(arrays), do: arrays
end
