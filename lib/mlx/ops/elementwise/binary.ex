defmodule Mlx.Ops.Elementwise.Binary do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Arithmetic of two arrays"
  use Mlx.Ops.Operation

  @doc """
  The sum, `a + b`. The shapes of the operands are broadcast.

      iex> Mlx.add(Mlx.array([[1], [2]]), Mlx.array([10, 20]))
      #Mlx.Array<
        s32[2][2]
        [
          [11, 21],
          [12, 22]
        ]
      >

  Python: `mlx.core.add`.
  """
  operation add(a, b)

  @doc """
  The difference, `a - b`. The shapes of the operands are broadcast.

      iex> Mlx.subtract(Mlx.array([1.5, 2.0]), 1)
      #Mlx.Array<
        f32[2]
        [0.5, 1.0]
      >

  Python: `mlx.core.subtract`.
  """
  operation subtract(a, b)

  @doc """
  The product, `a * b`. The shapes of the operands are broadcast.

      iex> Mlx.multiply(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        s32[3]
        [2, 4, 6]
      >

  Python: `mlx.core.multiply`.
  """
  operation multiply(a, b)

  @doc """
  The quotient, `a / b`, of a floating-point type: integers become `:f32`. A number divided by 0 is infinite, and 0
  divided by 0 is NaN. The shapes of the operands are broadcast.

      iex> Mlx.divide(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        f32[3]
        [0.5, 1.0, 1.5]
      >

  Python: `mlx.core.divide`.
  """
  operation divide(a, b)

  @doc """
  The quotient, rounded down to a whole number. The shapes of the operands are broadcast.

  An integer divided by 0 gives 0.

      iex> Mlx.floor_divide(Mlx.array([7.5, -7.5]), 2)
      #Mlx.Array<
        f32[2]
        [3.0, -4.0]
      >

  Python: `mlx.core.floor_divide`.
  """
  operation floor_divide(a, b)

  @doc """
  The remainder of the division, which has the sign of `b`. The shapes of the operands are broadcast.

  That of an integer divided by 0 is the integer.

      iex> Mlx.remainder(Mlx.array([7, -7]), 3)
      #Mlx.Array<
        s32[2]
        [1, 2]
      >

  Python: `mlx.core.remainder`.
  """
  operation remainder(a, b)

  @doc """
  The power, `aᵇ`. A negative exponent of an integer gives 0 or another integer that means nothing: use floating-point
  numbers there. The shapes of the operands are broadcast.

      iex> Mlx.pow(Mlx.array([1.0, 2.0, 3.0]), 2)
      #Mlx.Array<
        f32[3]
        [1.0, 4.0, 9.0]
      >

  Python: `mlx.core.power`, `mlx.core.pow`.
  """
  operation pow(a, b), :power

  @doc """
  The greater of two elements; NaN when one of them is NaN. The shapes of the operands are broadcast. The greatest of
  all elements is `reduce_max/2`.

      iex> Mlx.max(Mlx.array([1, 5, 3]), Mlx.array([4, 2, 3]))
      #Mlx.Array<
        s32[3]
        [4, 5, 3]
      >

  Python: `mlx.core.maximum`.
  """
  operation max(a, b), :maximum

  @doc """
  The lesser of two elements; NaN when one of them is NaN. The shapes of the operands are broadcast. The least of all
  elements is `reduce_min/2`.

      iex> Mlx.min(Mlx.array([1, 5, 3]), Mlx.array([4, 2, 3]))
      #Mlx.Array<
        s32[3]
        [1, 2, 3]
      >

  Python: `mlx.core.minimum`.
  """
  operation min(a, b), :minimum

  @doc """
  The angle in radians of the point with the coordinates `b` and `a`, from -π to π: the inverse tangent of `a / b`
  with regard to the quadrant. Integers become `:f32`. The shapes of the operands are broadcast.

      iex> Mlx.atan2(Mlx.array([0.0, 0.0]), Mlx.array([1.0, 2.0]))
      #Mlx.Array<
        f32[2]
        [0.0, 0.0]
      >

  Python: `mlx.core.arctan2`, `mlx.core.atan2`.
  """
  operation atan2(a, b), :arctan2

  @doc """
  The logarithm of the sum of exponentials, `log(eᵃ + eᵇ)`, without overflow. Integers become `:f32`. The shapes of
  the operands are broadcast.

      iex> Mlx.logaddexp(Mlx.array([500.0]), -500.0)
      #Mlx.Array<
        f32[1]
        [500.0]
      >

  Python: `mlx.core.logaddexp`.
  """
  operation_in_double logaddexp(a, b)

  @doc """
  The quotient as `floor_divide/2` gives it and the remainder as `remainder/2` does, as a tuple.

      iex> {quotient, remainder} = Mlx.divmod(Mlx.array([7, 8]), 3)
      iex> {Mlx.to_list(quotient), Mlx.to_list(remainder)}
      {[2, 2], [1, 2]}

  Python: `mlx.core.divmod`.
  """
  @spec divmod(Mlx.Array.operand(), Mlx.Array.operand(), keyword()) :: {Mlx.Array.t(), Mlx.Array.t()}
  def divmod(a, b, options \\ []) do
    [quotient, remainder] = Mlx.Native.divmod(a, b, Mlx.Arguments.Options.stream(options, :divmod))
    {quotient, remainder}
  end
end
