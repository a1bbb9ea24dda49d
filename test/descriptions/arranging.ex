defmodule Mlx.Descriptions.Arranging do
  @moduledoc "Arrays repeated, padded, turned, joined and split."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 1, random: 2]
  import Mlx.Differential.Operands

  alias Mlx.Conformance.Shapes

  @doc "The descriptions."
  def operations, do: widened() ++ turned() ++ stored() ++ joined()

  defp widened do
    [
      operation(:repeat,
        python: python("repeat", array: :array, repeats: :integer, axis: option(:integer, :axis)),
        draw: &repeat/0
      ),
      operation(:tile, python: python("tile", a: :array, reps: :axes), draw: &tile/0),
      operation(:pad,
        python:
          python(
            "pad",
            [a: :array, pad_width: :any, mode: option(:word, :mode), constant_values: option(:operand, :value)],
            adapter: &Shapes.pad/3,
            note: "widths are an integer, {before, after} or a list of these; constant_values is the option :value"
          ),
        other_gradient: "Python: that of a border with one element is 0",
        examples: [
          pad: [
            [array({4, 4}), [0, 1], [1, 0], [2, 1], array({}), "constant", nil],
            [array({4, 4}), [0, 1], [1, 0], [2, 1], array({}), "edge", nil]
          ],
          pad_symmetric: [[array({4, 4}), 1, array({}), "constant", nil]]
        ],
        share: 2,
        draw: &pad/0
      )
    ]
  end

  defp turned do
    [
      operation(:reverse,
        python: python("flip", a: :array, axis: option(:axes, :axes)),
        other_gradient: "Python: that of a single element is 0",
        without_options: :array,
        draw: &reverse/0
      ),
      operation(:roll,
        python: python("roll", [a: :array, shift: :axes, axis: default(:axes, nil)], adapter: &Shapes.roll/3),
        examples: [
          roll: [[array({4, 4}), [3], nil]],
          roll_axis: [[array({4, 4}), [1], 0, nil]],
          roll_axes: [[array({4, 4}), [1, -1], [0, 1], nil]]
        ],
        share: 2,
        draw: &roll/0
      ),
      operation(:trace,
        python:
          python(
            "trace",
            [a: :array, offset: option(:integer, :offset), axis1: default(:integer, 0)] ++
              [axis2: default(:integer, 1), dtype: option(:type, :type)],
            adapter: &Shapes.two_axes/3,
            note: "axis1 and axis2 are the option :axes"
          ),
        examples: [trace_axes: [[array({4, 4}), 0, 0, 1, :f32, nil]]],
        without_options: :array,
        draw: &trace/0
      )
    ]
  end

  defp stored do
    [
      operation(:as_strided,
        python:
          python(
            "as_strided",
            [a: :array, shape: default(:shape, nil), strides: default({:list, :integer}, nil)] ++
              [offset: option(:integer, :offset)],
            adapter: &Shapes.as_strided/3,
            note: "strides may be nil; a view that leaves the array raises"
          ),
        examples: [
          as_strided: [[array({4, 4}), [2, 3], [4, 1], 2, nil], [array({4, 4}), [3, 3], [1, 1], 0, nil]]
        ],
        draw: &as_strided/0
      ),
      operation(:contiguous,
        python: python("contiguous", a: :operand, allow_col_major: option(:boolean, :allow_col_major)),
        without_options: :array,
        draw: &contiguous/0
      ),
      operation(:copy,
        draw: fn ->
          x = random("x")
          {[x], "#{x}.__copy__()"}
        end
      )
    ]
  end

  defp joined do
    axis = "axis is an option, nil to flatten the arrays first"
    parameters = [arrays: variadic(:any), sparse: option(:boolean, :sparse), indexing: option(:word, :indexing)]

    [
      operation(:concatenate,
        python: [
          python("concatenate concat", [arrays: {:list, :array}, axis: {:nullable, :integer}],
            adapter: &Shapes.concatenate/3,
            note: axis
          ),
          python("concatenate concat", [arrays: {:list, :array}], note: axis)
        ],
        without_options: :list,
        draw: &concatenate/0
      ),
      operation(:stack,
        python: python("stack", arrays: {:list, :array}, axis: option(:integer, :axis)),
        without_options: :list,
        draw: &stack/0
      ),
      operation(:unstack,
        python: python("unstack", [x: :array, axis: option(:integer, :axis)], adapter: &Shapes.as_tuple/3),
        without_options: :array,
        draw: &unstack/0
      ),
      operation(:split,
        python:
          python("split array.split", [a: :array, indices_or_sections: :axes, axis: option(:integer, :axis)],
            note: "axis is an option"
          ),
        examples: [split: [[array({4, 4}), 2, 0, nil]], split_sections: [[array({4, 4}), [1, 3], 0, nil]]],
        draw: &split/0
      ),
      operation(:meshgrid,
        python: python("meshgrid", parameters, adapter: &Shapes.as_list/3, note: "the arrays are a list"),
        examples: [meshgrid: [[[array({2}), array({3})], false, "xy", nil]]],
        draw: &meshgrid/0
      )
    ]
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

  # Python takes tuples here, and no lists.
  defp tupled(list) when is_list(list), do: List.to_tuple(list)
  defp tupled(other), do: other

  defp distinct_axes(shape), do: Enum.take_random(0..(tuple_size(shape) - 1), 2)
end
