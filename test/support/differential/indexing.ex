defmodule Mlx.Differential.Indexing do
  @moduledoc "Rows for reading and updating parts of arrays."

  import Mlx.Differential.{Draw, Indices, Operands}
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Differential.{Input, Python, Row}

  @updates [
    add_at: "add",
    subtract_at: "subtract",
    multiply_at: "multiply",
    divide_at: "divide",
    max_at: "maximum",
    min_at: "minimum"
  ]

  @doc "The rows."
  def rows do
    refusals = "Python cannot bring the values into shape for some ranges beside arrays"
    options = [share: 5, refusals: refusals]

    for({name, python} <- @updates, do: Row.new(name, options, fn -> update(python) end)) ++
      [
        Row.new(:at, [share: 12], &at/0),
        Row.new(:put_at, [share: 12, refusals: refusals], &put_at/0),
        Row.new(:put_at, [variant: "mask", share: 2], &put_at_mask/0),
        Row.new(:slice, [share: 2], &slice/0),
        Row.new(:put_slice, [share: 2], &put_slice/0),
        Row.new(:take, [share: 2], &take/0),
        Row.new(:take_along_axis, &take_along_axis/0),
        Row.new(:put_along_axis, &put_along_axis/0),
        Row.new(:add_along_axis, &add_along_axis/0),
        Row.new(:gather, &gather/0),
        Row.new(:indexed_put, &indexed_put/0),
        Row.new(:indexed_add, &indexed_add/0)
      ]
  end

  defp at do
    x = random("x", shape: shape(rank: 1..4))
    {index, python} = index(x.shape)
    {[x, index], "#{x}[#{python}]"}
  end

  # An array with an index and values for what it selects. Python ends when there is nothing to update, and refuses
  # values that have the new axes of an index.
  defp updated(options \\ []) do
    x = random("x", [shape: shape(rank: 1..4, empty: false)] ++ options)
    {index, python} = index(x.shape, updates: true)
    selected = Mlx.at(Mlx.zeros(x.shape), build(index)).shape
    type = one_of([x.type, x.type, options |> Keyword.get(:type, Mlx.Type.all()) |> List.wrap() |> one_of()])
    array = random("v", [shape: beside(selected), type: type] ++ Keyword.take(options, [:values]))
    {x, index, python, if(mixed?(index), do: one_of(1..3), else: one_of([one_of(1..3), array]))}
  end

  # With integers beside arrays Python expects other shapes of the values than it gives when reading.
  defp mixed?(index) when is_list(index),
    do: Enum.any?(index, &is_integer/1) and Enum.any?(index, &(is_list(&1) or is_struct(&1, Input)))

  defp mixed?(_index), do: false

  defp build(%Input{} = input), do: Input.build(input)
  defp build(list) when is_list(list), do: Enum.map(list, &build/1)
  defp build(other), do: other

  defp put_at do
    {x, index, python, values} = updated()
    {[x, index, values], set(x, python, values)}
  end

  defp set(x, index, values) do
    "(lambda y: (y.__setitem__(#{index}, #{Python.term(values)}), y)[1])(mx.array(#{x}))"
  end

  defp put_at_mask do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    {masked, rest} = x.shape |> Tuple.to_list() |> Enum.split(one_of(1..tuple_size(x.shape)))
    mask = random("m", shape: List.to_tuple(masked), type: :bool)
    chosen = mask |> Input.build() |> Mlx.count_nonzero() |> Mlx.to_number()
    selected = List.to_tuple([chosen | rest])
    values = if chosen > 0 and chance?(2), do: random("v", shape: selected, type: x.type), else: one_of([0, 1, 5])
    {[x, mask, values], set(x, "#{mask}", values)}
  end

  # By 0 nothing is divided.
  defp update(python) do
    types = if python == "divide", do: [:f32, :f16, :bf16, :f64, :c64], else: Mlx.Type.all()
    {x, index, text, values} = updated(type: types, values: :positive)
    {[x, index, values], "#{x}.at[#{text}].#{python}(#{Python.term(values)})"}
  end

  defp slice do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    block = for size <- Tuple.to_list(x.shape), do: block(size)
    {starts, lengths} = Enum.unzip(block)

    if chance?(2) do
      strides = several(length(starts), fn -> one_of(1..3) end)
      {[x, starts, lengths, [strides: strides]], "#{x}[#{slices(block, strides)}]"}
    else
      start_arrays =
        for {start, axis} <- Enum.with_index(starts), do: Input.of("s#{axis}", start, one_of([:s32, :u8, :s64]))

      axes = Enum.to_list(0..(length(starts) - 1))
      {[x, start_arrays, lengths], Python.call("mx.slice", [x, {:python, start_array(start_arrays)}, axes, lengths])}
    end
  end

  defp start_array(starts), do: "mx.stack([#{Enum.map_join(starts, ", ", &"#{&1}.astype(mx.int32)")}])"

  # The start and the length of a part of an axis.
  defp block(size) do
    start = one_of(0..(size - 1))
    {start, one_of(0..(size - start))}
  end

  defp slices(block, strides) do
    block
    |> Enum.zip(strides)
    |> Enum.map(fn {{start, length}, stride} -> "slice(#{start}, #{start + length}, #{stride})" end)
    |> Python.tuple()
  end

  defp put_slice do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    block = for size <- Tuple.to_list(x.shape), do: block(size)
    {starts, lengths} = Enum.unzip(block)
    values = random("v", shape: List.to_tuple(lengths), type: one_of([x.type, x.type, type()]))

    if chance?(2) do
      {[x, starts, values], set(x, slices(block, List.duplicate(1, length(starts))), values)}
    else
      start_arrays = for {start, axis} <- Enum.with_index(starts), do: Input.of("s#{axis}", start, :s32)
      axes = Enum.to_list(0..(length(starts) - 1))

      {[x, start_arrays, values],
       Python.call("mx.slice_update", [x, values, {:python, start_array(start_arrays)}, axes])}
    end
  end

  defp take do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    axis = axis_option(x.shape, nil)
    size = if axis, do: size_along(x.shape, axis), else: Tuple.product(x.shape)
    # Python takes no negative number, and does not say so.
    index = one_of([one_of(0..(size - 1)), indices("i", shape(rank: 0..2), size)])
    {[x, index, [axis: axis]], Python.call("mx.take", [x, index, {:axis, axis}])}
  end

  defp along do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    axis = axis(x.shape)
    position = if axis < 0, do: axis + tuple_size(x.shape), else: axis
    {x, indices("i", put_elem(x.shape, position, one_of(0..4)), size_along(x.shape, axis)), axis}
  end

  defp take_along_axis do
    {x, indices, axis} = along()
    {[x, indices, [axis: axis]], Python.call("mx.take_along_axis", [x, indices, {:axis, axis}])}
  end

  defp put_along_axis do
    {x, indices, axis} = along()
    values = random("v", shape: beside(indices.shape), type: one_of([x.type, type()]))
    {[x, indices, values, [axis: axis]], Python.call("mx.put_along_axis", [x, indices, values, {:axis, axis}])}
  end

  # Python has no such function; for matrices it is an index of two arrays.
  defp add_along_axis do
    {rows, columns, count} = {one_of(1..6), one_of(1..6), one_of(1..4)}
    x = random("x", shape: {rows, columns}, values: :positive)

    case one_of(0..1) do
      0 ->
        {indices, values} = added(x, {count, columns}, rows)
        {[x, indices, values, [axis: 0]], "#{x}.at[#{indices}, mx.arange(#{columns})[None]].add(#{values})"}

      1 ->
        {indices, values} = added(x, {rows, count}, columns)
        {[x, indices, values, [axis: 1]], "#{x}.at[mx.arange(#{rows})[:, None], #{indices}].add(#{values})"}
    end
  end

  defp added(x, shape, size),
    do: {indices("i", shape, size), random("v", shape: shape, type: x.type, values: :positive)}

  defp coordinates do
    x = random("x", shape: shape(rank: 1..3, empty: false), values: :positive)
    size = x.shape |> Tuple.to_list() |> Enum.min()
    columns = one_of(1..tuple_size(x.shape))
    shape = List.to_tuple(several(one_of(0..2), fn -> one_of(1..4) end) ++ [columns])
    indices = indices("i", shape, size)
    rest = x.shape |> Tuple.to_list() |> Enum.drop(columns)
    selected = List.to_tuple((shape |> Tuple.to_list() |> Enum.drop(-1)) ++ rest)
    {x, indices, Python.tuple(for(column <- 0..(columns - 1), do: "#{indices}[..., #{column}]")), selected}
  end

  defp gather do
    {x, indices, python, _selected} = coordinates()
    {[x, indices], "#{x}[#{python}]"}
  end

  defp indexed_put do
    {x, indices, python, selected} = coordinates()
    values = random("v", shape: beside(selected), type: x.type)
    {[x, indices, values], set(x, python, values)}
  end

  defp indexed_add do
    {x, indices, python, selected} = coordinates()
    values = random("v", shape: beside(selected), type: x.type, values: :positive)
    {[x, indices, values], "#{x}.at[#{python}].add(#{values})"}
  end
end
