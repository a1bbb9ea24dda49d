defmodule Mlx.Differential.Operands do
  @moduledoc "Types, numbers in the place of arrays, and arrays that are reduced or sorted."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [random: 2]

  @types Mlx.Type.all()

  @doc "A type."
  def type, do: one_of(@types)

  @doc "A type that only floating-point operations take."
  def float_type, do: one_of([:f32, :f32, :f32, :f64, :f16, :bf16])

  @doc "A number that is the second operand of an operation with such values (see `Mlx.Differential.Values`)."
  def number(values \\ :any)
  def number(:divisor), do: one_of([1, 2, 3, 7, -2, 0.5, -1.5, :infinity, true])
  def number(:exponent), do: one_of([0, 1, 2, 3, 5, 0.5, -1.5, true])
  def number(:shift), do: one_of([0, 1, 3, 7, true])

  def number(_values) do
    one_of(
      [0, 1, 2, -1, -3, 100, 300, 2_147_483_647, -2_147_483_648, 0.0, 0.5, -1.5, 1.0e-3, 65_505.0, 1.0e30] ++
        [true, false, :nan, :infinity, :neg_infinity]
    )
  end

  @doc "An array of types that the function of Python gets right. It is sometimes longer than what one thread reduces."
  def reduced(python \\ "") do
    shape = one_of([shape(), shape(), shape(), {one_of(1000..3000)}, {3, one_of(200..700)}, {one_of(200..700), 3}])
    random("x", shape: shape, values: one_of([:any, :finite]), type: Mlx.Oracle.right_types(python, @types))
  end
end
