defmodule Mlx.Ops.MatrixProducts do
  @moduledoc false
  # Products that sum over axes of two arrays.

  use Mlx.Ops.Topic, title: "Products of vectors and matrices"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{CalledFunction, Options}

  @doc """
  The matrix product.

  Arrays with more than two axes are stacks of matrices, and broadcast over the leading axes. A 1-d array is a row on
  the left and a column on the right. The inner sizes must be equal (`Mlx.Error`), and the types floating-point or
  complex.

      iex> a = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      iex> Mlx.matmul(a, Mlx.array([1.0, 10.0])) |> Mlx.to_list()
      [21.0, 43.0]

      iex> Mlx.matmul(Mlx.zeros({5, 2, 3}), Mlx.zeros({3, 4})).shape
      {5, 2, 4}

  Python: `mlx.core.matmul`, `a @ b`.
  """
  @spec matmul(Array.t(), Array.t(), keyword()) :: Array.t()
  def matmul(a, b, options \\ []), do: Native.matmul(a, b, Options.stream(options, :matmul))

  @doc """
  The dot product: sums over the last axis of `a` and the last but one (or the only) axis of `b`.

  For matrices it is `matmul/3`. Where there are more axes it pairs every one of `a` with every one of `b`. A number
  multiplies.

      iex> Mlx.dot(Mlx.array([1.0, 2.0]), Mlx.array([3.0, 4.0])) |> Mlx.to_number()
      11.0

      iex> Mlx.dot(Mlx.zeros({2, 3, 4}), Mlx.zeros({5, 4, 6})).shape
      {2, 3, 5, 6}

  Python: `numpy.dot`; with axes of your choice `tensordot/3`.
  """
  @spec dot(Array.operand(), Array.operand(), keyword()) :: Array.t()
  def dot(a, b, options \\ []) do
    stream = Options.stream(options, :dot)

    CalledFunction.name("Mlx.dot", ["Mlx.multiply", "Mlx.tensordot"], fn ->
      case {rank(a), rank(b)} do
        {rank_a, rank_b} when rank_a == 0 or rank_b == 0 -> Native.multiply(a, b, stream)
        {rank_a, rank_b} -> Native.tensordot(a, b, [rank_a - 1], [max(rank_b - 2, 0)], stream)
      end
    end)
  end

  @doc """
  Sums the products of two arrays over axes of your choice.

  Options:

    * `:axes` - a number `n` (the last `n` axes of `a` with the first `n` of `b`, default 2), or two lists of axes
      `{axes_of_a, axes_of_b}`

  Examples:

      iex> Mlx.tensordot(Mlx.ones({2, 3, 4}), Mlx.ones({4, 3, 5}), axes: {[1, 2], [1, 0]}).shape
      {2, 5}

      iex> Mlx.tensordot(Mlx.array([1.0, 2.0]), Mlx.array([3.0, 4.0]), axes: 1) |> Mlx.to_number()
      11.0

  Python: `mlx.core.tensordot`.
  """
  @spec tensordot(Array.t(), Array.t(), keyword()) :: Array.t()
  def tensordot(a, b, options \\ []) do
    case Options.values(options, :tensordot, axes: 2) do
      [{axes_a, axes_b}, stream] -> Native.tensordot(a, b, axes_a, axes_b, stream)
      [count, stream] -> Native.tensordot_axis(a, b, count, stream)
    end
  end

  @doc """
  The inner product: sums over the last axis of both.

      iex> Mlx.inner(Mlx.array([[1.0, 2.0], [3.0, 4.0]]), Mlx.array([1.0, 1.0])) |> Mlx.to_list()
      [3.0, 7.0]

  Python: `mlx.core.inner`.
  """
  @spec inner(Array.t(), Array.t(), keyword()) :: Array.t()
  def inner(a, b, options \\ []), do: Native.inner(a, b, Options.stream(options, :inner))

  @doc """
  The outer product of two arrays, which are flattened first.

      iex> Mlx.outer(Mlx.array([1, 2]), Mlx.array([3, 4, 5])) |> Mlx.to_list()
      [[3, 4, 5], [6, 8, 10]]

  Python: `mlx.core.outer`.
  """
  @spec outer(Array.t(), Array.t(), keyword()) :: Array.t()
  def outer(a, b, options \\ []), do: Native.outer(a, b, Options.stream(options, :outer))

  @doc """
  The dot products of vectors that lie along an axis of both arrays, which have the same rank; the other axes broadcast.
  The first is conjugated.

  Options:

    * `:axis` - default -1

  Examples:

      iex> Mlx.vecdot(Mlx.array([[1.0, 2.0], [3.0, 4.0]]), Mlx.array([[1.0, 10.0]])) |> Mlx.to_list()
      [21.0, 43.0]

  Python: `mlx.core.vecdot`.
  """
  @spec vecdot(Array.t(), Array.t(), keyword()) :: Array.t()
  def vecdot(a, b, options \\ []) do
    [axis, stream] = Options.values(options, :vecdot, axis: -1)
    Native.vecdot(a, b, axis, stream)
  end

  @doc """
  The Kronecker product: each element of `a` times the whole of `b`.

      iex> Mlx.kron(Mlx.array([[1, 2]]), Mlx.array([[1], [3]])) |> Mlx.to_list()
      [[1, 2], [3, 6]]

  Python: `mlx.core.kron`.
  """
  @spec kron(Array.t(), Array.t(), keyword()) :: Array.t()
  def kron(a, b, options \\ []), do: Native.kron(a, b, Options.stream(options, :kron))

  @doc """
  `alpha * (a @ b) + beta * c` in one operation.

  Options:

    * `:alpha`, `:beta` - numbers, default 1

  Examples:

      iex> identity = Mlx.array([[1.0, 0.0], [0.0, 1.0]])
      iex> Mlx.addmm(Mlx.array([1.0, 2.0]), identity, identity, alpha: 2.0) |> Mlx.to_list()
      [[3.0, 2.0], [1.0, 4.0]]

  Python: `mlx.core.addmm`.
  """
  @spec addmm(Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def addmm(c, a, b, options \\ []) do
    [alpha, beta, stream] = Options.values(options, :addmm, alpha: 1, beta: 1)
    Native.addmm(addend(c, a, b, stream), a, b, alpha, beta, stream)
  end

  # Where the product is over no elements, MLX writes only as many elements as `c` has in memory.
  defp addend(%Array{} = c, %Array{shape: shape} = a, b, stream) when shape != {} do
    if elem(shape, tuple_size(shape) - 1) == 0 do
      c |> Native.broadcast_to(Native.matmul(a, b, stream).shape, stream) |> Native.contiguous(false, stream)
    else
      c
    end
  end

  defp addend(c, _a, _b, _stream), do: c

  @doc """
  The Walsh-Hadamard transform along the last axis, whose size must be `m * 2 ** k` with `m` 1, 12, 20 or 28.

  Options:

    * `:scale` - a factor, default `1 / sqrt(size)`, which makes the transform its own inverse

  Examples:

      iex> Mlx.hadamard_transform(Mlx.array([1.0, 2.0]), scale: 1.0) |> Mlx.to_list()
      [3.0, -1.0]

  Python: `mlx.core.hadamard_transform`.
  """
  @spec hadamard_transform(Array.t(), keyword()) :: Array.t()
  def hadamard_transform(%Array{} = array, options \\ []) do
    [scale, stream] = Options.values(options, :hadamard_transform, scale: nil)
    size = if array.shape == {}, do: 1, else: elem(array.shape, tuple_size(array.shape) - 1)

    # MLX takes some other sizes too, and gives nonsense for them.
    unless Enum.any?([1, 12, 20, 28], &hadamard_size?(size, &1)) do
      raise ArgumentError,
            "Mlx.hadamard_transform: expected the last axis to have the size m * 2 ** k with m 1, 12, 20 or 28, got: #{size}"
    end

    Native.hadamard_transform(array, scale, stream)
  end

  defp hadamard_size?(size, factor) when size > factor, do: rem(size, 2) == 0 and hadamard_size?(div(size, 2), factor)
  defp hadamard_size?(size, factor), do: size == factor

  defp rank(%Array{shape: shape}), do: tuple_size(shape)
  defp rank(_number), do: 0
end
