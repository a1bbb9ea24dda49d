defmodule Mlx.Ops.Products do
  @moduledoc false
  # Products of arrays that sum over axes.

  use Mlx.Ops.Topic, title: "Matrix products"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{CalledFunction, Operand, Options}
  alias Mlx.Ops.EinsumPath

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
  The sum over products that a subscript string describes (Einstein notation).

      iex> a = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
      iex> Mlx.einsum("ij,kj->ik", [a, a]) |> Mlx.to_list()
      [[5.0, 11.0], [11.0, 25.0]]

      iex> Mlx.einsum("ii", [Mlx.array([[1.0, 2.0], [3.0, 4.0]])]) |> Mlx.to_number()
      5.0

  Python: `mlx.core.einsum`.
  """
  @spec einsum(String.t(), [Array.t()], keyword()) :: Array.t()
  def einsum(subscripts, arrays, options \\ []) when is_binary(subscripts) and length(arrays) >= 0 do
    stream = Options.stream(options, :einsum)
    EinsumPath.check!(subscripts, arrays)
    Native.einsum(subscripts, arrays, stream)
  end

  @doc """
  The order in which `einsum/2` contracts its arrays, and what that costs.

  Returns `{path, info}`. `path` has a tuple of positions for each step: those arrays are taken out of the list, and
  their contraction is put at its end. `info` has the number of floating-point operations of all arrays at once
  (`:naive_cost`) and of the path (`:optimized_cost`), and the most indices that one step runs over (`:naive_scaling`,
  `:optimized_scaling`).

      iex> [a, b, c] = [Mlx.zeros({5, 8}), Mlx.zeros({8, 10}), Mlx.zeros({10, 7})]
      iex> Mlx.einsum_path("ij,jk,kl", [a, b, c])
      {[{1, 2}, {0, 1}], %{naive_cost: 8400, naive_scaling: 4, optimized_cost: 1680, optimized_scaling: 3}}

  Raises an `ArgumentError` when the subscripts do not fit the arrays.

  Python: `mlx.core.einsum_path`, which describes the costs in a text.
  """
  @spec einsum_path(String.t(), [Array.t()]) :: {[tuple()], %{atom() => non_neg_integer()}}
  def einsum_path(subscripts, arrays) when is_binary(subscripts) and length(arrays) >= 0 do
    EinsumPath.path(subscripts, arrays)
  end

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
  The matrix product with blocks left out (or scaled) by masks.

  A mask has one element for each block of `:block_size` x `:block_size` elements of its matrix. Types are
  floating-point.

  Options:

    * `:block_size` - 32 or 64, default 64
    * `:mask_out`, `:mask_left`, `:mask_right` - arrays for the result, `a` and `b`: boolean, or numbers to scale by

  Examples:

      iex> a = Mlx.ones({64, 64})
      iex> Mlx.block_masked_mm(a, a, mask_out: Mlx.array([[false]])) |> Mlx.sum() |> Mlx.to_number()
      0.0

  Python: `mlx.core.block_masked_mm`.
  """
  @spec block_masked_mm(Array.t(), Array.t(), keyword()) :: Array.t()
  def block_masked_mm(a, b, options \\ []) do
    defaults = [block_size: 64, mask_out: nil, mask_left: nil, mask_right: nil]
    [block_size, out, left, right, stream] = Options.values(options, :block_masked_mm, defaults)
    Native.block_masked_mm(a, b, block_size, out, left, right, stream)
  end

  @doc """
  Matrix products of matrices picked from stacks by index arrays, without copying them.

  Options:

    * `:left_indices`, `:right_indices` - arrays of indices into the flattened leading axes of `a` and `b`; they
      broadcast together. Without one, the stack itself is broadcast. Out of bounds they are clamped.
    * `:sorted` - promise that the indices are sorted, which can be faster, default false

  Examples:

      iex> a = Mlx.array([[[1.0]], [[2.0]]])
      iex> b = Mlx.array([[[10.0]], [[100.0]]])
      iex> Mlx.gather_mm(a, b, right_indices: Mlx.array([1, 0])) |> Mlx.to_list()
      [[[100.0]], [[20.0]]]

  Python: `mlx.core.gather_mm`.
  """
  @spec gather_mm(Array.t(), Array.t(), keyword()) :: Array.t()
  def gather_mm(a, b, options \\ []) do
    defaults = [left_indices: nil, right_indices: nil, sorted: false]
    [left, right, sorted, stream] = Options.values(options, :gather_mm, defaults)
    Operand.elements!([a, b], :gather_mm)
    Native.gather_mm(a, b, left, right, sorted, stream)
  end

  @doc """
  Matrix products over segments of the inner axis: `segments` has the shape `{..., 2}` and holds a start and a stop for
  each product.

      iex> a = Mlx.array([[1.0, 2.0, 3.0]])
      iex> b = Mlx.array([[1.0], [1.0], [1.0]])
      iex> Mlx.segmented_mm(a, b, Mlx.array([[0, 1], [1, 3]], type: :u32)) |> Mlx.to_list()
      [[[1.0]], [[5.0]]]

  Python: `mlx.core.segmented_mm`.
  """
  @spec segmented_mm(Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def segmented_mm(a, b, segments, options \\ []) do
    stream = Options.stream(options, :segmented_mm)
    Operand.elements!([a, b], :segmented_mm)
    Native.segmented_mm(a, b, segments, stream)
  end

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
