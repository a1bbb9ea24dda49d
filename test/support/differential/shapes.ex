defmodule Mlx.Differential.Shapes do
  @moduledoc "Rows for operations that rearrange, join and split arrays, and for what is known of an array."

  import Mlx.Differential.{Draw, Operands}
  import Mlx.Differential.Input, only: [random: 1, random: 2]

  alias Mlx.Differential.{Python, Row}

  @doc "The rows."
  def rows do
    [
      Row.new(:reshape, &reshape/0),
      Row.new(:flatten, &flatten/0),
      Row.new(:unflatten, &unflatten/0),
      Row.new(:squeeze, &squeeze/0),
      Row.new(:new_axis, &new_axis/0),
      Row.new(:transpose, &transpose/0),
      Row.new(:swap_axes, &swap_axes/0),
      Row.new(:matrix_transpose, &matrix_transpose/0),
      Row.new(:move_axis, &move_axis/0),
      Row.new(:broadcast, &broadcast/0),
      Row.new(:broadcast_arrays, &broadcast_arrays/0),
      Row.new(:broadcast_shapes, &broadcast_shapes/0),
      Row.new(:repeat, &repeat/0),
      Row.new(:tile, &tile/0),
      Row.new(:pad, [share: 2], &pad/0),
      Row.new(:reverse, &reverse/0),
      Row.new(:roll, [share: 2], &roll/0),
      Row.new(:as_strided, &as_strided/0),
      Row.new(:contiguous, &contiguous/0),
      Row.new(:copy, fn -> of_one("%.__copy__()") end),
      Row.new(:atleast_1d, fn -> of_one("mx.atleast_1d(%)") end),
      Row.new(:atleast_2d, fn -> of_one("mx.atleast_2d(%)") end),
      Row.new(:atleast_3d, fn -> of_one("mx.atleast_3d(%)") end),
      Row.new(:trace, &trace/0),
      Row.new(:concatenate, &concatenate/0),
      Row.new(:stack, &stack/0),
      Row.new(:unstack, &unstack/0),
      Row.new(:split, &split/0),
      Row.new(:meshgrid, &meshgrid/0),
      Row.new(:shape, fn -> of_one("%.shape") end),
      Row.new(:rank, fn -> of_one("%.ndim") end),
      Row.new(:size, fn -> of_one("%.size") end),
      Row.new(:byte_size, fn -> of_one("%.nbytes") end),
      Row.new(:axis_size, &axis_size/0),
      Row.new(:result_type, [module: Mlx.Type], &result_type/0),
      Row.new(:can_cast?, [module: Mlx.Type], &can_cast/0)
    ]
  end

  defp of_one(python) do
    x = random("x")
    {[x], String.replace(python, "%", "#{x}")}
  end

  defp reshape do
    x = random("x")
    sizes = factors(Tuple.product(x.shape), one_of(1..4))
    # A size can be found from the others unless one of them is 0.
    sizes =
      if 0 not in sizes and chance?(2), do: List.replace_at(sizes, one_of(0..(length(sizes) - 1)), -1), else: sizes

    shape = List.to_tuple(sizes)
    {[x, shape], Python.call("mx.reshape", [x, shape])}
  end

  defp flatten do
    x = random("x")
    rank = tuple_size(x.shape)

    if rank == 0 or chance?(3) do
      {[x], Python.call("mx.flatten", [x])}
    else
      first = one_of(0..(rank - 1))
      last = one_of(first..(rank - 1))
      {[x, [axes: Enum.to_list(first..last)]], Python.call("mx.flatten", [x, first, last])}
    end
  end

  defp unflatten do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    axis = axis(x.shape)
    sizes = x.shape |> size_along(axis) |> factors(one_of(1..3))
    shape = List.to_tuple(if chance?(2), do: List.replace_at(sizes, 0, -1), else: sizes)
    {[x, axis, shape], Python.call("mx.unflatten", [x, axis, shape])}
  end

  defp squeeze do
    sizes = several(one_of(0..5), fn -> one_of([1, 1, 2, 3]) end)
    x = random("x", shape: List.to_tuple(sizes))
    ones = for {1, axis} <- Enum.with_index(sizes), chance?(2), do: if(chance?(3), do: axis - length(sizes), else: axis)
    axes = one_of([nil, ones, List.first(ones)])
    {[x, [axes: axes]], Python.call("mx.squeeze", [x, axis: axes])}
  end

  defp new_axis do
    x = random("x", shape: shape(rank: 0..3))
    rank = tuple_size(x.shape)
    axes = one_of([one_of(-(rank + 1)..rank), Enum.take_random(0..rank, 2), [0, -1]])
    {[x, axes], Python.call("mx.expand_dims", [x, axes])}
  end

  defp transpose do
    x = random("x")
    order = Enum.shuffle(0..(tuple_size(x.shape) - 1)//1)
    axes = one_of([nil, order, order, for(axis <- order, do: axis - length(order))])
    {[x, [axes: axes]], Python.call("mx.transpose", [x, axes: axes])}
  end

  defp swap_axes do
    x = random("x", shape: shape(rank: 1..4))
    {a, b} = {axis(x.shape), axis(x.shape)}
    {[x, a, b], Python.call("mx.swapaxes", [x, a, b])}
  end

  defp matrix_transpose do
    x = random("x", shape: shape(rank: 2..4))
    {[x], Python.call("mx.matrix_transpose", [x])}
  end

  defp move_axis do
    x = random("x", shape: shape(rank: 1..4))
    {from, to} = {axis(x.shape), axis(x.shape)}
    {[x, from, to], Python.call("mx.moveaxis", [x, from, to])}
  end

  defp broadcast do
    shape = shape()
    x = if chance?(6), do: number(), else: random("x", shape: beside(shape))
    {[x, shape], Python.call("mx.broadcast_to", [x, shape])}
  end

  defp broadcast_arrays do
    shape = shape()
    arrays = for name <- Enum.take(~w(a b c), one_of(1..3)), do: random(name, shape: beside(shape))
    {[arrays], Python.call("mx.broadcast_arrays", arrays)}
  end

  defp broadcast_shapes do
    shape = shape()
    shapes = several(one_of(1..3), fn -> one_of([beside(shape), beside(shape), beside(shape), shape()]) end)
    {[shapes], Python.call("mx.broadcast_shapes", shapes)}
  end

  defp repeat do
    x = random("x", shape: shape(rank: 0..3))
    {count, axis} = {one_of(0..4), axis_option(x.shape, nil)}
    {[x, count, [axis: axis]], Python.call("mx.repeat", [x, count, {:axis, axis}])}
  end

  defp tile do
    x = random("x", shape: shape(rank: 0..3))
    counts = one_of([one_of(0..3), several(one_of(1..4), fn -> one_of([0, 1, 1, 2, 3]) end)])
    {[x, counts], Python.call("mx.tile", [x, counts])}
  end

  defp pad do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    rank = tuple_size(x.shape)
    width = fn -> {one_of(0..3), one_of(0..3)} end

    {elixir, python} =
      case :rand.uniform(3) do
        1 -> width.() |> then(&{&1, &1})
        2 -> one_of(0..3) |> then(&{&1, &1})
        3 -> several(rank, width) |> then(&{&1, &1})
      end

    {mode, value} = {one_of([:constant, :constant, :edge, :reflect, :symmetric]), one_of([0, 0, 2, 1.5, true])}
    # A reflection is no longer than the array.
    if mode in [:reflect, :symmetric] and Enum.min(Tuple.to_list(x.shape)) < 4,
      do: pad(),
      else: padded(x, elixir, python, mode, value)
  end

  defp padded(x, elixir, python, mode, value) do
    {[x, elixir, [mode: mode, value: value]], Python.call("mx.pad", [x, python, mode: mode, constant_values: value])}
  end

  defp reverse do
    x = random("x")
    axes = axes_option(x.shape)
    {[x, [axes: axes]], Python.call("mx.flip", [x, axis: axes])}
  end

  defp roll do
    x = random("x", shape: shape(empty: false))
    axes = axes_option(x.shape)

    shift =
      if is_list(axes) and chance?(2), do: several(length(axes), fn -> one_of(-9..9) end), else: one_of(-9..9)

    {[x, shift, [axes: axes]], Python.call("mx.roll", [x, tupled(shift), tupled(axes)])}
  end

  # Python takes tuples here, and no lists.
  defp tupled(list) when is_list(list), do: List.to_tuple(list)
  defp tupled(other), do: other

  # Python ends for arrays that are not contiguous.
  defp as_strided do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    size = Tuple.product(x.shape)
    {rows, columns} = {one_of(1..4), one_of(1..4)}
    strides = [one_of(0..3), one_of(0..3)]
    reach = (rows - 1) * hd(strides) + (columns - 1) * List.last(strides)

    if reach >= size do
      as_strided()
    else
      offset = one_of(0..(size - 1 - reach))

      {[x, {rows, columns}, strides, [offset: offset]],
       Python.call("mx.as_strided", [{:python, "mx.contiguous(#{x})"}, {rows, columns}, strides, offset])}
    end
  end

  defp contiguous do
    {x, columns} = {random("x"), flag()}
    {[x, [allow_col_major: columns]], Python.call("mx.contiguous", [x, columns])}
  end

  # Python sums the elements of an empty diagonal for ever.
  defp trace do
    x = random("x", shape: shape(rank: 2..4, empty: false))
    [a, b] = distinct_axes(x.shape)
    {offset, type} = {one_of((1 - elem(x.shape, a))..(elem(x.shape, b) - 1)), one_of([nil, type()])}

    {[x, [offset: offset, axes: [a, b]] ++ if(type, do: [type: type], else: [])],
     Python.call("mx.trace", [x, offset, a, b, {:dtype, type}])}
  end

  defp distinct_axes(shape), do: Enum.take_random(0..(tuple_size(shape) - 1), 2)

  defp concatenate do
    shape = shape(rank: 1..3)
    axis = axis(shape)
    position = if axis < 0, do: axis + tuple_size(shape), else: axis
    type = type()

    arrays =
      for name <- Enum.take(~w(a b c), one_of(1..3)) do
        random(name, shape: put_elem(shape, position, one_of(0..4)), type: one_of([type, type, type()]))
      end

    {[arrays, [axis: axis]], Python.call("mx.concatenate", [arrays, axis: axis])}
  end

  defp stack do
    shape = shape(rank: 0..3)
    axis = one_of(-(tuple_size(shape) + 1)..tuple_size(shape))
    type = type()

    arrays =
      for name <- Enum.take(~w(a b c), one_of(1..3)), do: random(name, shape: shape, type: one_of([type, type, type()]))

    {[arrays, [axis: axis]], Python.call("mx.stack", [arrays, axis: axis])}
  end

  defp unstack do
    x = random("x", shape: shape(rank: 1..4))
    axis = axis(x.shape)
    {[x, [axis: axis]], Python.call("mx.unstack", [x, axis: axis])}
  end

  defp split do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    axis = axis(x.shape)
    size = size_along(x.shape, axis)
    places = several(one_of(0..3), fn -> one_of(0..size) end) |> Enum.sort()
    parts = one_of([places, places, one_of(for n <- 1..size, rem(size, n) == 0, do: n)])
    {[x, parts, [axis: axis]], Python.call("mx.split", [x, parts, {:axis, axis}])}
  end

  defp meshgrid do
    arrays = for name <- Enum.take(~w(a b c), one_of(1..3)), do: random(name, shape: {one_of(1..4)})
    {indexing, sparse} = {one_of([:xy, :ij]), flag()}

    {[arrays, [indexing: indexing, sparse: sparse]],
     Python.call("mx.meshgrid", arrays ++ [indexing: indexing, sparse: sparse])}
  end

  defp axis_size do
    x = random("x", shape: shape(rank: 1..4))
    axis = axis(x.shape)
    {[x, axis], "#{x}.shape[#{axis}]"}
  end

  defp array_or_type(name), do: one_of([type(), type(), random(name, shape: {2})])

  defp result_type do
    arguments = for name <- Enum.take(~w(a b c), one_of(1..3)), do: array_or_type(name)
    {[arguments], Python.call("mx.result_type", arguments)}
  end

  defp can_cast do
    arguments = [array_or_type("a"), type()]
    {arguments, Python.call("mx.can_cast", arguments)}
  end
end
