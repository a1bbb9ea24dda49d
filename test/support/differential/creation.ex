defmodule Mlx.Differential.Creation do
  @moduledoc "Rows for functions that make arrays of numbers and shapes, and for those that read values."

  import Mlx.Differential.{Draw, Operands}
  import Mlx.Differential.Input, only: [random: 1, random: 2]

  alias Mlx.Differential.{Python, Row}

  @types Mlx.Type.all()
  # `tolist` gives numbers, of which Python makes `float32` and `int32` again.
  @readable @types -- [:c64, :u64, :s64]

  @doc "The rows."
  def rows do
    for(name <- [:zeros, :ones], do: Row.new(name, fn -> filled("#{name}") end)) ++
      for(name <- [:zeros_like, :ones_like], do: Row.new(name, fn -> like("#{name}") end)) ++
      for(name <- [:tril, :triu, :diag], do: Row.new(name, fn -> diagonal_of("#{name}") end)) ++
      for(name <- [:bartlett, :blackman, :hamming, :hanning], do: Row.new(name, fn -> window("#{name}") end)) ++
      [
        Row.new(:array, &array/0),
        Row.new(:from_binary, &from_binary/0),
        Row.new(:full, &full/0),
        Row.new(:full_like, &full_like/0),
        Row.new(:eye, &eye/0),
        Row.new(:arange, [share: 2], &arange/0),
        Row.new(:iota, &iota/0),
        Row.new(:linspace, &linspace/0),
        Row.new(:tri, &tri/0),
        Row.new(:diagonal, &diagonal/0),
        Row.new(:to_list, &to_list/0),
        Row.new(:to_flat_list, &to_flat_list/0),
        Row.new(:to_number, &to_number/0)
      ]
  end

  defp typed(nil), do: []
  defp typed(type), do: [type: type]

  defp filled(python) do
    {shape, type} = {shape(), one_of([nil, type()])}
    {[shape, typed(type)], Python.call("mx.#{python}", [shape] ++ if(type, do: [type], else: []))}
  end

  defp like(python) do
    {x, type} = {random("x"), one_of([nil, type()])}
    {[x, typed(type)], Python.call("mx.#{python}", [x, dtype: type])}
  end

  defp array do
    {shape, type} = {shape(rank: 0..3), one_of([nil, nil, type()])}
    class = type && Mlx.Type.class(type)
    elements = nested(Tuple.to_list(shape), element(class))
    {[elements, typed(type)], Python.call("mx.array", [elements, {:dtype, type}])}
  end

  defp nested([], element), do: element.()
  defp nested([size | sizes], element), do: several(size, fn -> nested(sizes, element) end)

  # Negative numbers do not become unsigned ones in one way everywhere.
  defp element(:unsigned), do: one_of([fn -> one_of(0..200) end, fn -> one_of([true, false, 3]) end])

  defp element(_class) do
    one_of([
      fn -> one_of(-100..100) end,
      fn -> one_of([true, false]) end,
      fn -> one_of([0, 1, true, false, -2]) end,
      fn -> one_of([1, 2.5, -0.125, true]) end
    ])
  end

  defp from_binary do
    x = random("x", layout: :plain)

    {[x.bytes, x.shape, x.type],
     "mx.array(list(#{Python.call("bytes", [:binary.bin_to_list(x.bytes)])}), mx.uint8).view(#{Python.term(x.type)}).reshape(#{Python.term(x.shape)})"}
  end

  # Python leaves the type of an array, and of fractions that are to become integers, as it is.
  defp full do
    {shape, type} = {shape(), one_of([nil, type()])}
    value = one_of([plain_number(), random("v", shape: beside(shape), values: :positive)])
    {[shape, value, typed(type)], converted(Python.call("mx.full", [shape, value]), type)}
  end

  defp converted(python, nil), do: python
  defp converted(python, type), do: "#{python}.astype(#{Python.term(type)})"

  defp full_like do
    {x, type} = {random("x"), one_of([nil, type()])}
    value = one_of([plain_number(), random("v", shape: beside(x.shape))])
    {[x, value, typed(type)], Python.call("mx.full_like", [x, value, {:dtype, type}])}
  end

  defp plain_number, do: one_of([0, 1, 3, 100, 0.5, 1.25, true])

  defp eye do
    {rows, columns, k, type} = {one_of(0..6), one_of(0..6), one_of(-4..4), type()}

    if chance?(3) do
      {[rows, [type: type]], Python.call("mx.identity", [rows, {:dtype, type}])}
    else
      {[{rows, columns}, [k: k, type: type]], Python.call("mx.eye", [rows, columns, k, type])}
    end
  end

  defp arange do
    number = fn -> one_of([one_of(-20..20), one_of(-20..20), one_of(0..80) / 4]) end
    step = one_of([1, 2, 3, -1, -2, 0.5, -0.25, 0.3])
    type = one_of([nil, nil, one_of([:s8, :s32, :s64, :f16, :bf16, :f32, :f64])])
    arguments = one_of([[number.()], [number.(), number.()], [number.(), number.(), step]])
    {arguments ++ [typed(type)], Python.call("mx.arange", arguments ++ [dtype: type])}
  end

  defp iota do
    {shape, type} = {shape(), one_of([:s32, :u8, :s64, :f32, :bf16])}
    axis = axis_option(shape, nil)
    count = if axis, do: size_along(shape, axis), else: Tuple.product(shape)
    counted = Python.call("mx.arange", [0, count, 1, {:dtype, type}])
    {[shape, [axis: axis, type: type]], spread(counted, shape, axis)}
  end

  defp spread(counted, shape, nil), do: "#{counted}.reshape(#{Python.term(shape)})"

  defp spread(counted, shape, axis) do
    rank = tuple_size(shape)
    position = if axis < 0, do: axis + rank, else: axis
    column = put_elem(Tuple.duplicate(1, rank), position, elem(shape, position))
    Python.call("mx.broadcast_to", [{:python, "#{counted}.reshape(#{Python.term(column)})"}, shape])
  end

  defp linspace do
    {start, stop} = {one_of([0, -3, 1.5, 100]), one_of([1, 7, -2.5, 0.1])}
    {n, endpoint, type} = {one_of(0..40), flag(), one_of([:f32, :f16, :bf16, :f64, :s32])}

    {[start, stop, [n: n, endpoint: endpoint, type: type]],
     Python.call("mx.linspace", [start, stop, n, {:dtype, type}, {:endpoint, endpoint}])}
  end

  defp tri do
    {rows, columns, k, type} = {one_of(0..6), one_of(0..6), one_of(-4..4), type()}
    {[rows, columns, [k: k, type: type]], Python.call("mx.tri", [rows, columns, k, type])}
  end

  defp diagonal_of(python) do
    x = random("x", shape: shape(rank: if(python == "diag", do: 1..2, else: 2..4)))
    k = one_of(-4..4)
    {[x, [k: k]], Python.call("mx.#{python}", [x, {:k, k}])}
  end

  defp diagonal do
    x = random("x", shape: shape(rank: 2..4))
    {offset, [a, b]} = {one_of(-3..3), Enum.take_random(0..(tuple_size(x.shape) - 1), 2)}
    {[x, [offset: offset, axes: [a, b]]], Python.call("mx.diagonal", [x, offset, a, b])}
  end

  defp window(python) do
    n = one_of(0..100)
    {[n], "mx.#{python}(#{n})"}
  end

  defp to_list do
    x = random("x", shape: shape(rank: 1..3, empty: false), type: @readable)
    {[x], "#{x}.tolist()"}
  end

  defp to_flat_list do
    x = random("x", shape: shape(empty: false), type: @readable)
    {[x], "#{x}.flatten().tolist()"}
  end

  defp to_number do
    x = random("x", shape: one_of([{}, {1}, {1, 1}]), type: @readable)
    {[x], "#{x}.item()"}
  end
end
