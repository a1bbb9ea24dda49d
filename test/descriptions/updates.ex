defmodule Mlx.Descriptions.Updates do
  @moduledoc "Arrays with other values in some places."

  use Mlx.Description

  import Mlx.Differential.{Indices, Operands, Places}
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Conformance.Selection
  alias Mlx.Differential.Input

  # What is `x.at[index].add(values)` in Python.
  @updates [
    add_at: "add",
    subtract_at: "subtract",
    multiply_at: "multiply",
    divide_at: "divide",
    max_at: "maximum",
    min_at: "minimum"
  ]

  @refusals "Python cannot bring the values into shape for some ranges beside arrays"

  @doc "The descriptions."
  def operations do
    for({name, python} <- @updates, do: update_at(name, python)) ++ put() ++ along() ++ at_coordinates()
  end

  defp update_at(name, python) do
    operation(name,
      examples: examples(name),
      refusals: @refusals,
      other_gradient: "Python: that of one element has another shape for a negative step",
      share: 5,
      draw: fn -> update(python) end
    )
  end

  # Subtraction and division are done with the others.
  defp examples(:add_at), do: updates(:scatter_add, :scatter_add_single, :slice_update_add)
  defp examples(:multiply_at), do: updates(:scatter_prod, :scatter_prod_single, :slice_update_prod)
  defp examples(:max_at), do: updates(:scatter_max, :scatter_max_single, :slice_update_max)
  defp examples(:min_at), do: updates(:scatter_min, :scatter_min_single, :slice_update_min)
  defp examples(:put_at), do: updates(:scatter, :scatter_single, :slice_update)
  defp examples(_name), do: []

  defp updates(scatter, scatter_single, slice_update) do
    [
      {scatter,
       [
         [array({4, 5}), [array({3}, :s32)], array({3, 1, 5}), [0], nil],
         [array({4, 5}), [array({3}, :u32), array({2, 1}, :u32)], array({2, 3, 2, 2}), [0, 1], nil]
       ]},
      {scatter_single, [[array({4, 5}), array({3}, :s32), array({3, 1, 5}), 0, nil]]},
      {slice_update,
       [
         [array({4, 5}), array({2, 4}), [0, 1], [4, 5], [2, 1], nil],
         [array({4, 5}), array({4, 3}), [3, 4], [-5, -6], [-1, -2], nil]
       ]}
    ]
  end

  # On a GPU any of several values for one element may be written.
  defp several_values, do: if(Mlx.Device.default() == :gpu, do: "one of several values for an element is written")

  defp put do
    negative = "Python: that of one element is 0 for a negative step"
    fields = [other_gradient: negative, not_mapped: several_values()]

    [
      operation(
        :put_at,
        [examples: examples(:put_at), share: 12, refusals: @refusals, draw: &put_at/0] ++ fields
      ),
      operation(
        :put_at,
        [
          variant: "mask",
          examples: [masked_scatter: [[array({4, 4}), array({4, 4}, :bool, :ones), array({16}), nil]]],
          share: 2,
          draw: &put_at_mask/0
        ] ++ fields
      ),
      operation(:put_slice,
        python:
          python("slice_update", [a: :array, update: :array, start_indices: :array, axes: {:list, :integer}],
            adapter: &Selection.slice_update/3,
            note: "starts are a list with a start for each axis, integers or 0-d arrays"
          ),
        examples: [
          slice_update_dynamic: [[array({4, 5}), array({2, 3}), array({2}, :s32, :ones), [0, 1], nil]]
        ],
        share: 2,
        draw: &put_slice/0
      )
    ]
  end

  defp along do
    [
      operation(:put_along_axis,
        python:
          python("put_along_axis", [a: :array, indices: :array, values: :operand, axis: default(:integer, nil)],
            adapter: &Selection.put_along_axis/3,
            note: "axis is an option, 0 unless given; nil is for the flattened array"
          ),
        examples: [put_along_axis: [[array({4, 5}), array({4, 2}, :s32), array({4, 2}), 1, nil]]],
        not_mapped: several_values(),
        draw: &put_along_axis/0
      ),
      operation(:add_along_axis,
        examples: [scatter_add_axis: [[array({4, 5}), array({4, 2}, :s32), array({4, 2}), 1, nil]]],
        draw: &add_along_axis/0
      )
    ]
  end

  defp at_coordinates do
    [operation(:indexed_put, draw: &indexed_put/0), operation(:indexed_add, draw: &indexed_add/0)]
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

  defp put_along_axis do
    {x, indices, axis} = x_and_indices()
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
