defmodule Mlx.Differential.Factors do
  @moduledoc "Arrays that are multiplied."

  import Mlx.Differential.{Draw, Operands}
  import Mlx.Differential.Input, only: [random: 2]

  @doc "Types of two factors: mostly one floating-point type, and also others, of which integers are no operands."
  def types do
    type = one_of([float_type(), float_type(), float_type(), :c64, type()])
    {type, if(chance?(6), do: type(), else: type)}
  end

  @doc "The size of an axis that has elements."
  def some_size, do: one_of([1, 2, 3, 5, 8])

  @doc "Two factors of these shapes, and of these types."
  def pair(shape_a, shape_b, options), do: pair(shape_a, shape_b, types(), options)

  def pair(shape_a, shape_b, {type_a, type_b}, options) do
    {random("a", [shape: shape_a, type: type_a] ++ options), random("b", [shape: shape_b, type: type_b] ++ options)}
  end
end
