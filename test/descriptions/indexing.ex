defmodule Mlx.Descriptions.Indexing do
  @moduledoc "Parts of arrays."

  use Mlx.Description

  import Mlx.Differential.{Indices, Places}
  import Mlx.Differential.Input, only: [random: 2]

  alias Mlx.Conformance.Selection
  alias Mlx.Differential.Input

  @rows [array({4, 5}), array({3}, :s32)]

  @doc "The descriptions."
  def operations, do: taken() ++ selected()

  defp taken do
    [
      operation(:take,
        python:
          python("take", [a: :array, indices: :operand, axis: always(:integer, :axis)],
            note:
              "axis is an option, 0 unless given; nil, which Python has unless given, takes from the flattened array"
          ),
        examples: [
          take: [@rows ++ [nil]],
          take_axis: [[array({4, 5}), array({2, 3}, :s32), 1, nil]]
        ],
        share: 2,
        draw: &take/0
      ),
      operation(:take_along_axis,
        python:
          python("take_along_axis", [a: :array, indices: :array, axis: default(:integer, nil)],
            adapter: &Selection.take_along_axis/3,
            note: "axis is an option, 0 unless given; nil takes from the flattened array"
          ),
        examples: [take_along_axis: [[array({4, 5}), array({4, 2}, :s32), 1, nil]]],
        draw: &take_along_axis/0
      ),
      operation(:gather, draw: &gather/0)
    ]
  end

  defp selected do
    [
      operation(:at,
        examples: [
          gather: [
            [array({4, 5}), [array({3}, :s32)], [0], [1, 5], nil],
            [array({4, 5}), [array({3}, :u32), array({2, 1}, :u32)], [0, 1], [2, 2], nil]
          ],
          gather_single: [@rows ++ [0, [1, 5], nil]]
        ],
        other_gradient: "Python: that of one element is 0 for a negative step",
        share: 12,
        draw: &at/0
      ),
      operation(:slice,
        python:
          python("slice", [a: :array, start_indices: :array, axes: {:list, :integer}, slice_size: {:list, :integer}],
            adapter: &Selection.slice/3,
            note: "starts are a list with a start for each axis, integers or 0-d arrays"
          ),
        examples: [
          slice: [
            [array({4, 5}), [0, 1], [4, 5], [2, 1], nil],
            [array({4, 5}), [3, 4], [-5, -6], [-1, -2], nil]
          ],
          slice_dynamic: [[array({4, 5}), array({2}, :s32, :ones), [0, 1], [2, 3], nil]]
        ],
        other_gradient: "Python: that of one element is spread over the step",
        share: 2,
        draw: &slice/0
      )
    ]
  end

  defp at do
    x = random("x", shape: shape(rank: 1..4))
    {index, python} = index(x.shape)
    {[x, index], "#{x}[#{python}]"}
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

  defp take do
    x = random("x", shape: shape(rank: 1..3, empty: false))
    axis = axis_option(x.shape, nil)
    size = if axis, do: size_along(x.shape, axis), else: Tuple.product(x.shape)
    # Python takes no negative number, and does not say so.
    index = one_of([one_of(0..(size - 1)), indices("i", shape(rank: 0..2), size)])
    {[x, index, [axis: axis]], Python.call("mx.take", [x, index, {:axis, axis}])}
  end

  defp take_along_axis do
    {x, indices, axis} = x_and_indices()
    {[x, indices, [axis: axis]], Python.call("mx.take_along_axis", [x, indices, {:axis, axis}])}
  end

  defp gather do
    {x, indices, python, _selected} = coordinates()
    {[x, indices], "#{x}[#{python}]"}
  end
end
