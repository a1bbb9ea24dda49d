defmodule Mlx.Ops.Elementwise.Comparison do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Comparing"
  use Mlx.Ops.Operation

  alias Mlx.Native
  alias Mlx.Arguments.Options

  @tolerance [rtol: 1.0e-5, atol: 1.0e-8, equal_nan: false]

  @doc """
  Whether elements are equal, as `:bool`. NaN equals nothing. The shapes of the operands are broadcast.

      iex> Mlx.equal(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        bool[3]
        [false, true, false]
      >

  Python: `mlx.core.equal`.
  """
  operation equal(a, b)

  @doc """
  Whether elements differ, as `:bool`. NaN differs from everything. The shapes of the operands are broadcast.

      iex> Mlx.not_equal(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        bool[3]
        [true, false, true]
      >

  Python: `mlx.core.not_equal`.
  """
  operation not_equal(a, b)

  @doc """
  Whether `a > b`, as `:bool`. The shapes of the operands are broadcast.

      iex> Mlx.greater(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        bool[3]
        [false, false, true]
      >

  Python: `mlx.core.greater`.
  """
  operation greater(a, b)

  @doc """
  Whether `a >= b`, as `:bool`. The shapes of the operands are broadcast.

      iex> Mlx.greater_equal(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        bool[3]
        [false, true, true]
      >

  Python: `mlx.core.greater_equal`.
  """
  operation greater_equal(a, b)

  @doc """
  Whether `a < b`, as `:bool`. The shapes of the operands are broadcast.

      iex> Mlx.less(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        bool[3]
        [true, false, false]
      >

  Python: `mlx.core.less`.
  """
  operation less(a, b)

  @doc """
  Whether `a <= b`, as `:bool`. The shapes of the operands are broadcast.

      iex> Mlx.less_equal(Mlx.array([1, 2, 3]), 2)
      #Mlx.Array<
        bool[3]
        [true, true, false]
      >

  Python: `mlx.core.less_equal`.
  """
  operation less_equal(a, b)

  @doc """
  Whether elements are equal but for rounding, `|a - b| <= atol + rtol * |b|`, as `:bool`. The shapes of the operands are
  broadcast.

      iex> Mlx.is_close(Mlx.array([1.0, 1.1]), 1.000001)
      #Mlx.Array<
        bool[2]
        [true, false]
      >

  Infinities of one sign are equal.

  Options: `:rtol` (default 1.0e-5), `:atol` (default 1.0e-8), `:equal_nan`, whether NaN equals NaN (default `false`),
  `:stream`.

  Python: `mlx.core.isclose`.
  """
  @spec is_close(Mlx.Array.operand(), Mlx.Array.operand(), keyword()) :: Mlx.Array.t()
  def is_close(a, b, options \\ []) do
    [rtol, atol, equal_nan, stream] = Options.values(options, :is_close, @tolerance)
    Native.isclose(a, b, rtol, atol, equal_nan, stream)
  end

  @doc """
  Whether all elements are equal but for rounding, as one `:bool`: see `is_close/2`, whose options it has.

      iex> Mlx.all_close(Mlx.array([1.0, 2.0]), Mlx.array([1.0, 2.000001]))
      #Mlx.Array<
        bool
        true
      >

  Python: `mlx.core.allclose`.
  """
  @spec all_close(Mlx.Array.operand(), Mlx.Array.operand(), keyword()) :: Mlx.Array.t()
  def all_close(a, b, options \\ []) do
    [rtol, atol, equal_nan, stream] = Options.values(options, :all_close, @tolerance)
    Native.allclose(a, b, rtol, atol, equal_nan, stream)
  end

  @doc """
  Whether two arrays have the same shape and equal elements, as one `:bool`. Their types may differ.

      iex> Mlx.array_equal(Mlx.array([1, 2]), Mlx.array([1.0, 2.0]))
      #Mlx.Array<
        bool
        true
      >

  Options: `:equal_nan`, whether NaN equals NaN (default `false`), `:stream`.

  Python: `mlx.core.array_equal`.
  """
  @spec array_equal(Mlx.Array.operand(), Mlx.Array.operand(), keyword()) :: Mlx.Array.t()
  def array_equal(a, b, options \\ []) do
    [equal_nan, stream] = Options.values(options, :array_equal, equal_nan: false)
    Native.array_equal(a, b, equal_nan, stream)
  end
end
