defmodule Mlx.Ops.Elementwise.Logical do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Logic"
  use Mlx.Ops.Operation

  @doc """
  Whether both elements are true, as `:bool`. Every number but 0 is true. The shapes of the operands are broadcast.

      iex> Mlx.logical_and(Mlx.array([true, true, false]), Mlx.array([true, false, false]))
      #Mlx.Array<
        bool[3]
        [true, false, false]
      >

  Python: `mlx.core.logical_and`.
  """
  operation logical_and(a, b)

  @doc """
  Whether one of the elements is true or both are, as `:bool`. Every number but 0 is true. The shapes of the operands
  are broadcast.

      iex> Mlx.logical_or(Mlx.array([true, true, false]), Mlx.array([true, false, false]))
      #Mlx.Array<
        bool[3]
        [true, true, false]
      >

  Python: `mlx.core.logical_or`.
  """
  operation logical_or(a, b)

  @doc """
  Whether one of the elements is true and the other is not, as `:bool`. Every number but 0 is true. The shapes of the
  operands are broadcast.

      iex> Mlx.logical_xor(Mlx.array([true, true, false]), Mlx.array([true, false, false]))
      #Mlx.Array<
        bool[3]
        [false, true, false]
      >

  Python: `mlx.core.logical_xor`.
  """
  operation logical_xor(a, b)

  @doc """
  Whether the element is false, as `:bool`. Every number but 0 is true.

      iex> Mlx.logical_not(Mlx.array([0, 1, 2]))
      #Mlx.Array<
        bool[3]
        [true, false, false]
      >

  Python: `mlx.core.logical_not`.
  """
  operation logical_not(array)

  @doc """
  Whether the element is NaN, as `:bool`.

      iex> Mlx.is_nan(Mlx.array([1.0, :nan, :infinity]))
      #Mlx.Array<
        bool[3]
        [false, true, false]
      >

  Python: `mlx.core.isnan`.
  """
  operation is_nan(array), :isnan

  @doc """
  Whether the element is infinite, of either sign, as `:bool`.

      iex> Mlx.is_infinity(Mlx.array([1.0, :nan, :infinity]))
      #Mlx.Array<
        bool[3]
        [false, false, true]
      >

  Python: `mlx.core.isinf`.
  """
  operation is_infinity(array), :isinf

  @doc """
  Whether the element is positive infinity, as `:bool`.

      iex> Mlx.is_positive_infinity(Mlx.array([1.0, :infinity]))
      #Mlx.Array<
        bool[2]
        [false, true]
      >

  Python: `mlx.core.isposinf`.
  """
  operation is_positive_infinity(array), :isposinf

  @doc """
  Whether the element is negative infinity, as `:bool`.

      iex> Mlx.is_negative_infinity(Mlx.array([1.0, :infinity]))
      #Mlx.Array<
        bool[2]
        [false, false]
      >

  Python: `mlx.core.isneginf`.
  """
  operation is_negative_infinity(array), :isneginf

  @doc """
  Whether the element is neither infinite nor NaN, as `:bool`.

      iex> Mlx.is_finite(Mlx.array([1.0, :nan, :infinity]))
      #Mlx.Array<
        bool[3]
        [true, false, false]
      >

  Python: `mlx.core.isfinite`.
  """
  operation is_finite(array), :isfinite
end
