defmodule Mlx.Ops.Elementwise.Bitwise do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Bits of integers"
  use Mlx.Ops.Operation

  @doc """
  The bits that are set in both integers. The shapes of the operands are broadcast. Raises an `Mlx.Error` for types
  with fractions.

      iex> Mlx.bitwise_and(Mlx.array([6, 5]), 3)
      #Mlx.Array<
        s32[2]
        [2, 1]
      >

  Python: `mlx.core.bitwise_and`.
  """
  operation bitwise_and(a, b)

  @doc """
  The bits that are set in one of the integers or in both. The shapes of the operands are broadcast. Raises an
  `Mlx.Error` for types with fractions.

      iex> Mlx.bitwise_or(Mlx.array([6, 5]), 3)
      #Mlx.Array<
        s32[2]
        [7, 7]
      >

  Python: `mlx.core.bitwise_or`.
  """
  operation bitwise_or(a, b)

  @doc """
  The bits that are set in one of the integers and not in the other. The shapes of the operands are broadcast. Raises
  an `Mlx.Error` for types with fractions.

      iex> Mlx.bitwise_xor(Mlx.array([6, 5]), 3)
      #Mlx.Array<
        s32[2]
        [5, 6]
      >

  Python: `mlx.core.bitwise_xor`.
  """
  operation bitwise_xor(a, b)

  @doc """
  The integer with all its bits turned over. That of a `:bool` is its negation.

  Raises an `Mlx.Error` for types with fractions.

      iex> Mlx.bitwise_not(Mlx.array([0, 5]))
      #Mlx.Array<
        s32[2]
        [-1, -6]
      >

  Python: `mlx.core.bitwise_invert`.
  """
  operation bitwise_not(array), :bitwise_invert

  @doc """
  The bits of the integers `a` moved up by `b` places. The shapes of the operands are broadcast.

      iex> Mlx.left_shift(Mlx.array([1, 2]), 3)
      #Mlx.Array<
        s32[2]
        [8, 16]
      >

  Python: `mlx.core.left_shift`, `mlx.core.bitwise_left_shift`.
  """
  operation left_shift(a, b)

  @doc """
  The bits of the integers `a` moved down by `b` places. Signed integers keep their sign. The shapes of the operands
  are broadcast.

      iex> Mlx.right_shift(Mlx.array([16, -16]), 3)
      #Mlx.Array<
        s32[2]
        [2, -2]
      >

  Python: `mlx.core.right_shift`, `mlx.core.bitwise_right_shift`.
  """
  operation right_shift(a, b)
end
