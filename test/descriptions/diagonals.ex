defmodule Mlx.Descriptions.Diagonals do
  @moduledoc "Diagonals and triangles."

  use Mlx.Description

  import Mlx.Differential.Input, only: [random: 2]
  import Mlx.Differential.Operands

  alias Mlx.Conformance.{Creation, Shapes}

  @none "takes no array with fractions"
  @empty_diagonal "Python has none where there are no elements"

  @doc "The descriptions."
  def operations, do: of_sizes() ++ of_arrays()

  defp of_sizes do
    type = [dtype: option(:type, :type)]
    size = [n: :integer, m: default(:integer, nil), k: option(:integer, :k)] ++ type

    [
      operation(:eye,
        python: [
          python("eye", size, adapter: &Creation.eye/3, note: "the size is an integer or {rows, columns}"),
          python("identity", [n: :integer] ++ type, note: "Mlx.eye(n)")
        ],
        draw: &eye/0,
        no_gradient: @none
      ),
      operation(:tri,
        python: python("tri", size, adapter: &Creation.tri/3),
        without_options: &plain_tri/0,
        draw: &tri/0,
        no_gradient: @none
      )
    ]
  end

  defp of_arrays do
    of_axes = [axis1: default(:integer, 0), axis2: default(:integer, 1)]
    k = [k: option(:integer, :k)]

    [
      operation(:tril,
        python: python("tril", [x: :array] ++ k),
        without_options: :array,
        draw: fn -> diagonal_of("tril") end
      ),
      operation(:triu,
        python: python("triu", [x: :array] ++ k),
        without_options: :array,
        draw: fn -> diagonal_of("triu") end
      ),
      operation(:diag,
        python: python("diag array.diag", [a: :array] ++ k),
        other_gradient: @empty_diagonal,
        draw: fn -> diagonal_of("diag") end
      ),
      operation(:diagonal,
        python:
          python("diagonal array.diagonal", [a: :array, offset: option(:integer, :offset)] ++ of_axes,
            adapter: &Shapes.two_axes/3,
            note: "axis1 and axis2 are the option :axes"
          ),
        examples: [diagonal: [[array({4, 4}), 0, 0, 1, nil]]],
        other_gradient: @empty_diagonal,
        without_options: :array,
        draw: &diagonal/0
      )
    ]
  end

  defp eye do
    {rows, columns, k, type} = {one_of(0..6), one_of(0..6), one_of(-4..4), type()}

    if chance?(3) do
      {[rows, [type: type]], Python.call("mx.identity", [rows, {:dtype, type}])}
    else
      {[{rows, columns}, [k: k, type: type]], Python.call("mx.eye", [rows, columns, k, type])}
    end
  end

  defp tri do
    {rows, columns, k, type} = {one_of(0..6), one_of(0..6), one_of(-4..4), type()}
    {[rows, columns, [k: k, type: type]], Python.call("mx.tri", [rows, columns, k, type])}
  end

  defp plain_tri do
    {rows, columns} = {one_of(1..5), one_of(1..5)}
    {[rows, columns], Python.call("mx.tri", [rows, columns])}
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
end
