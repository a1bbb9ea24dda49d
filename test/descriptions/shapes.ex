defmodule Mlx.Descriptions.Shapes do
  @moduledoc "Other shapes of the same elements, in the same or another order of axes."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 1, random: 2]
  import Mlx.Differential.Operands

  alias Mlx.Conformance.Shapes

  @doc "The descriptions."
  def operations, do: sizes() ++ axes() ++ broadcasts()

  defp sizes do
    joined = "start_axis and end_axis are the option :axes, all the axes that are joined"

    [
      operation(:reshape,
        python: [
          python("reshape", a: :array, shape: :shape),
          python("array.reshape", [self: :array, shape: variadic(:any)], adapter: &Shapes.reshape/3)
        ],
        draw: &reshape/0
      ),
      operation(:flatten,
        python:
          python(
            "flatten array.flatten",
            [a: :array, start_axis: default(:integer, 0), end_axis: default(:integer, -1)],
            adapter: &Shapes.flatten/3,
            note: joined
          ),
        examples: [flatten: [[array({2, 3, 4}), 0, 1, nil]]],
        draw: &flatten/0
      ),
      operation(:unflatten,
        python: python("unflatten", a: :array, axis: :integer, shape: :shape),
        examples: [unflatten: [[array({4, 4}), 0, [2, 2], nil]]],
        draw: &unflatten/0
      ),
      operation(:squeeze,
        python: python("squeeze array.squeeze", a: :array, axis: option(:axes, :axes)),
        examples: [
          squeeze_axis: [[array({1, 4}), 0, nil]],
          squeeze_axes: [[array({1, 4, 1}), [0, 2], nil]]
        ],
        without_options: :array,
        draw: &squeeze/0
      ),
      operation(:new_axis,
        python: python("expand_dims", [a: :array, axis: :axes], note: "the index :new_axis does the same"),
        draw: &new_axis/0
      )
    ] ++
      for name <- ~w(atleast_1d atleast_2d atleast_3d)a do
        operation(name,
          python: python("#{name}", [arys: variadic(:operand)], adapter: &Shapes.each/3),
          draw: fn -> of_one("mx.#{name}(%)") end
        )
      end
  end

  defp axes do
    [
      operation(:transpose,
        python: [
          python("transpose permute_dims", a: :array, axes: option({:list, :integer}, :axes)),
          python("array.transpose", [self: :array, axes: variadic(:any)], adapter: &Shapes.transpose/3),
          python("array.T", a: :operand)
        ],
        examples: [transpose_axes: [[array({2, 3, 4}), [2, 0, 1], nil]]],
        without_options: :array,
        draw: &transpose/0
      ),
      operation(:swap_axes,
        python: python("swapaxes array.swapaxes", a: :array, axis1: :integer, axis2: :integer),
        examples: [swapaxes: [[array({4, 4}), 0, 1, nil]]],
        draw: &swap_axes/0
      ),
      operation(:matrix_transpose, python: python("matrix_transpose array.mT", a: :operand), draw: &matrix_transpose/0),
      operation(:move_axis,
        python: python("moveaxis array.moveaxis", a: :array, source: :integer, destination: :integer),
        draw: &move_axis/0
      )
    ]
  end

  defp broadcasts do
    [
      operation(:broadcast, python: python("broadcast_to", a: :operand, shape: :shape), draw: &broadcast/0),
      operation(:broadcast_arrays,
        python:
          python("broadcast_arrays", [arrays: variadic(:any)],
            adapter: &Shapes.as_list/3,
            note: "the arrays are a list"
          ),
        draw: &broadcast_arrays/0
      ),
      operation(:broadcast_shapes,
        python:
          python("broadcast_shapes", [shapes: variadic(:shape)],
            adapter: &Shapes.shapes/3,
            note: "the shapes are a list"
          ),
        no_gradient: "gives no fractions",
        not_mapped: "gives no arrays",
        draw: &broadcast_shapes/0
      )
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
end
