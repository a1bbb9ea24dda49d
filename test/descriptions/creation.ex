defmodule Mlx.Descriptions.Creation do
  @moduledoc "Arrays made of numbers and shapes."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 1, random: 2]
  import Mlx.Differential.Operands

  alias Mlx.Conformance.Creation

  @none "takes no array with fractions"

  @doc "The descriptions."
  def operations do
    for({name, python} <- [zeros: "zeros", ones: "ones"], do: filled(name, python)) ++
      for(name <- [:zeros_like, :ones_like], do: like(name, "#{name}")) ++
      for(name <- [:bartlett, :blackman, :hamming, :hanning], do: window(name, "#{name}")) ++
      [of_values(:array), of_values(:from_binary)] ++ with_values() ++ counted()
  end

  defp filled(name, python) do
    other = if name == :zeros, do: [python("empty", shape_and_type(), note: "MLX fills it with zeros too")], else: []

    operation(name,
      python: [python(python, shape_and_type()) | other],
      draw: fn -> filled(python) end,
      no_gradient: @none
    )
  end

  defp shape_and_type, do: [shape: :shape, dtype: option(:type, :type)]

  defp like(name, python) do
    parameters = [a: :array, dtype: option(:type, :type)]

    other =
      if name == :zeros_like, do: [python("empty_like", parameters, note: "MLX fills it with zeros too")], else: []

    operation(name,
      python: [python(python, parameters) | other],
      without_options: :array,
      draw: fn -> like(python) end
    )
  end

  defp window(name, python) do
    operation(name, python: python(python, M: :integer), draw: fn -> window(python) end, no_gradient: @none)
  end

  defp of_values(:array) do
    copied = [a: :any, dtype: default(:type, nil), copy: default(:boolean, nil)]

    operation(:array,
      python: [
        python("array", [val: :any, dtype: default(:type, nil)],
          adapter: &Creation.array/3,
          elixir: ~w[Mlx.array/1 Mlx.from_binary/3],
          note: "a class in Python: see its methods below"
        ),
        python("asarray", copied, adapter: &Creation.as_array/3, note: "an array is returned as it is")
      ],
      not_mapped: "takes no arrays",
      draw: &array/0,
      no_gradient: @none
    )
  end

  defp of_values(:from_binary) do
    operation(:from_binary,
      examples: [from_binary: [[<<0::256>>, {2, 4}, :f32], [<<0::64>>, {8}, :bool]]],
      kinds: [from_binary: ~w(binary shape type)a],
      not_mapped: "takes no arrays",
      draw: &from_binary/0,
      no_gradient: @none
    )
  end

  defp with_values do
    multiplied = "Python: it is multiplied by the values"

    [
      operation(:full,
        python:
          python("full", [shape: :shape, vals: :operand, dtype: option(:type, :type)], note: "the shape is a tuple"),
        other_gradient: multiplied,
        draw: &full/0
      ),
      operation(:full_like,
        python: python("full_like", a: :array, vals: :operand, dtype: option(:type, :type)),
        other_gradient: multiplied,
        draw: &full_like/0
      )
    ]
  end

  defp counted do
    type = [dtype: option(:type, :type)]
    arange = [adapter: &Creation.arange/3, elixir: ~w[Mlx.arange/1 Mlx.arange/2 Mlx.arange/3]]

    [
      operation(:arange,
        python: [
          python(
            "arange",
            [start: :number, stop: {:nullable, :number}, step: default(:number, nil)] ++ type,
            arange
          ),
          python("arange", [stop: :number, step: default(:number, nil)] ++ type, arange)
        ],
        examples: [arange: [[0.0, 10.0, 2.5, :f32, nil], [10, 0, -1, :s32, nil]]],
        share: 2,
        draw: &arange/0,
        no_gradient: @none
      ),
      operation(:iota, draw: &iota/0, no_gradient: @none),
      operation(:linspace,
        python:
          python(
            "linspace",
            [start: :number, stop: :number, num: option(:integer, :n), endpoint: option(:boolean, :endpoint)] ++ type,
            note: "the number of elements is the option :n"
          ),
        without_options: &plain_linspace/0,
        draw: &linspace/0,
        no_gradient: @none
      )
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

  defp window(python) do
    n = one_of(0..100)
    {[n], "mx.#{python}(#{n})"}
  end

  defp plain_linspace do
    {start, stop} = {one_of([0, -3.5]), one_of([1, 10])}
    {[start, stop], Python.call("mx.linspace", [start, stop])}
  end
end
