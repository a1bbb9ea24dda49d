defmodule Mlx.Linalg do
  @moduledoc """
  Linear algebra.

  Functions take matrices, or stacks of matrices in the last two axes, of type `:f32` or `:f64` (some also `:c64`).

  MLX has the factorisations for the CPU only. They run there even where the default device is a GPU, unless a stream
  is given that is not one of the CPU.

  Python: `mlx.core.linalg`.
  """

  use Mlx.NonFinite.Definitions

  alias Mlx.{Array, Native, Stream, Telemetry}
  alias Mlx.Arguments.{CalledFunction, Operand, Options}

  @doc """
  The norm of vectors or matrices.

  Options:

    * `:ord` - the order:

      | order | matrices | vectors |
      | --- | --- | --- |
      | `nil` (default) | Frobenius norm | 2-norm |
      | `:frobenius`, `:nuclear` | the norm of that name | |
      | `:infinity`, `:neg_infinity` | greatest, least row sum of absolute values | greatest, least absolute value |
      | 1, -1 | greatest, least column sum of absolute values | as any number |
      | 2, -2 | greatest, least singular value | as any number |
      | 0 | | number of elements that are not 0 |
      | another number `p` | | `sum(abs(x) ** p) ** (1 / p)` |

    * `:axes` - an axis or a list: one axis for vectors, two for matrices. By default all axes: a vector or a matrix, and without `:ord`
      any array, as if it were flat.
    * `:keep_axes` - keep the axes with size 1, default false

  Examples:

      iex> Mlx.Linalg.norm(Mlx.array([3.0, 4.0])) |> Mlx.to_number()
      5.0

      iex> Mlx.Linalg.norm(Mlx.array([[1.0, -2.0], [3.0, 4.0]]), ord: 1) |> Mlx.to_number()
      6.0

      iex> Mlx.Linalg.norm(Mlx.array([[1.0, -2.0], [3.0, 4.0]]), ord: :infinity, axes: [1]) |> Mlx.to_list()
      [2.0, 4.0]

  Python: `mlx.core.linalg.norm`, `mlx.core.matrix_norm`.
  """
  @spec norm(Array.t(), keyword()) :: Array.t()
  def norm(array, options \\ []) do
    [ord, axes, keep_axes, _stream] = Options.values(options, :"Linalg.norm", ord: nil, axes: nil, keep_axes: false)

    axes = axes && List.wrap(axes)

    # These orders are computed from singular values.
    stream =
      if ord in [:nuclear, 2, -2], do: stream(options), else: Stream.resolve(options, "Mlx.Linalg.norm")

    case ord do
      nil -> Native.linalg_norm_l2(array, axes, keep_axes, stream)
      :frobenius -> Native.linalg_norm_matrix(array, "fro", axes, keep_axes, stream)
      :nuclear -> Native.linalg_norm_matrix(array, "nuc", axes, keep_axes, stream)
      ord -> Native.linalg_norm(array, ord, axes, keep_axes, stream)
    end
  end

  @doc """
  The Cholesky factor of symmetric positive definite matrices: `a = l @ transpose(l)`.

  MLX does not check that a matrix is positive definite: for one that is not, the result is meaningless.

  Options:

    * `:upper` - the upper factor, `a = transpose(u) @ u`, default false

  Examples:

      iex> Mlx.Linalg.cholesky(Mlx.array([[4.0, 2.0], [2.0, 5.0]])) |> Mlx.to_list()
      [[2.0, 0.0], [1.0, 2.0]]

  Python: `mlx.core.linalg.cholesky`.
  """
  @spec cholesky(Array.t(), keyword()) :: Array.t()
  def cholesky(array, options \\ []), do: triangle(:cholesky, array, options)

  @doc """
  The inverse of symmetric positive definite matrices from their Cholesky factors.

  Options:

    * `:upper` - whether the factors are the upper ones, default false

  Examples:

      iex> Mlx.Linalg.cholesky_inv(Mlx.array([[2.0, 0.0], [0.0, 1.0]])) |> Mlx.to_list()
      [[0.25, 0.0], [0.0, 1.0]]

  Python: `mlx.core.linalg.cholesky_inv`.
  """
  @spec cholesky_inv(Array.t(), keyword()) :: Array.t()
  def cholesky_inv(array, options \\ []), do: triangle(:cholesky_inv, array, options)

  @doc """
  The inverse of triangular matrices.

  Options:

    * `:upper` - whether they are upper triangular, default false

  Examples:

      iex> Mlx.Linalg.tri_inv(Mlx.array([[2.0, 0.0], [2.0, 1.0]])) |> Mlx.to_list()
      [[0.5, 0.0], [-1.0, 1.0]]

  Python: `mlx.core.linalg.tri_inv`.
  """
  @spec tri_inv(Array.t(), keyword()) :: Array.t()
  def tri_inv(array, options \\ []), do: triangle(:tri_inv, array, options)

  @doc """
  The inverse of square matrices. A singular one raises `Mlx.Error` when the value is read.

      iex> Mlx.Linalg.invert(Mlx.array([[2.0, 1.0], [1.0, 1.0]])) |> Mlx.to_list()
      [[1.0, -1.0], [-1.0, 2.0]]

  Python: `mlx.core.linalg.inv`.
  """
  @spec invert(Array.t(), keyword()) :: Array.t()
  def invert(array, options \\ []), do: Native.linalg_inv(elements!(array, :invert), stream(options, :invert))

  @doc """
  The Moore-Penrose pseudo-inverse of matrices.

      iex> Mlx.Linalg.pinv(Mlx.array([[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]])).shape
      {2, 3}

  Python: `mlx.core.linalg.pinv`.
  """
  @spec pinv(Array.t(), keyword()) :: Array.t()
  def pinv(array, options \\ []), do: Native.linalg_pinv(array, stream(options, :pinv))

  @doc """
  Solves `a @ x = b`. `b` is a vector, or a matrix with a system in each column. A singular `a` raises `Mlx.Error` when
  the value is read.

      iex> Mlx.Linalg.solve(Mlx.array([[2.0, 0.0], [0.0, 4.0]]), Mlx.array([2.0, 2.0])) |> Mlx.to_list()
      [1.0, 0.5]

  Python: `mlx.core.linalg.solve`.
  """
  @spec solve(Array.t(), Array.t(), keyword()) :: Array.t()
  def solve(a, b, options \\ []), do: Native.linalg_solve(elements!(a, :solve), b, stream(options, :solve))

  @doc """
  Solves `a @ x = b` where `a` is triangular.

  Options:

    * `:upper` - whether `a` is upper triangular, default false

  Examples:

      iex> a = Mlx.array([[2.0, 0.0], [2.0, 1.0]])
      iex> Mlx.Linalg.triangular_solve(a, Mlx.array([2.0, 3.0])) |> Mlx.to_list()
      [1.0, 1.0]

  Python: `mlx.core.linalg.solve_triangular`.
  """
  @spec triangular_solve(Array.t(), Array.t(), keyword()) :: Array.t()
  def triangular_solve(a, b, options \\ []) do
    [upper, _stream] = Options.values(options, :"Linalg.triangular_solve", upper: false)
    Native.linalg_solve_triangular(elements!(a, :triangular_solve), b, upper, stream(options))
  end

  @doc """
  The cross product of vectors of size 2 or 3; sizes of 2 are taken as 3 with 0.

  Options:

    * `:axis` - the axis that holds the vectors, default -1

  Examples:

      iex> Mlx.Linalg.cross(Mlx.array([1.0, 0.0, 0.0]), Mlx.array([0.0, 1.0, 0.0])) |> Mlx.to_list()
      [0.0, 0.0, 1.0]

  Python: `mlx.core.linalg.cross`.
  """
  @spec cross(Array.t(), Array.t(), keyword()) :: Array.t()
  def cross(a, b, options \\ []) do
    [axis, stream] = Options.values(options, :"Linalg.cross", axis: -1)
    # MLX splits them, and takes the parts of a reversed array for contiguous.
    [a, b] =
      CalledFunction.name("Mlx.Linalg.cross", ["Mlx.contiguous"], fn ->
        for array <- [a, b], do: Native.contiguous(array, false, stream)
      end)

    Native.linalg_cross(a, b, axis, stream)
  end

  @doc """
  The determinant of square matrices.

      iex> Mlx.Linalg.determinant(Mlx.array([[2.0, 1.0], [1.0, 4.0]])) |> Mlx.to_number()
      7.0

  Python: `mlx.core.linalg.det`.
  """
  @spec determinant(Array.t(), keyword()) :: Array.t()
  def determinant(array, options \\ []), do: Native.linalg_det(array, stream(options, :determinant))

  @doc """
  The sign and the logarithm of the absolute value of the determinant, as `{sign, logarithm}`.

      iex> {sign, logarithm} = Mlx.Linalg.slogdet(Mlx.array([[0.0, 1.0], [1.0, 0.0]]))
      iex> {Mlx.to_number(sign), Mlx.to_number(logarithm)}
      {-1.0, 0.0}

  Python: `mlx.core.linalg.slogdet`.
  """
  @spec slogdet(Array.t(), keyword()) :: {Array.t(), Array.t()}
  def slogdet(array, options \\ []), do: Native.linalg_slogdet(array, stream(options, :slogdet))

  @doc """
  Eigenvalues and right eigenvectors (in columns) of square matrices, as `{values, vectors}`, both `:c64`. They are NaN
  for a matrix with elements that are infinite or NaN.

      iex> {values, vectors} = Mlx.Linalg.eig(Mlx.array([[2.0, 0.0], [0.0, 3.0]]))
      iex> {values.type, values.shape, vectors.shape}
      {:c64, {2}, {2, 2}}

  Python: `mlx.core.linalg.eig`.
  """
  @spec eig(Array.t(), keyword()) :: {Array.t(), Array.t()}
  def eig(array, options \\ []) do
    stream = stream(options, :eig)
    {matrices, finite} = array |> Operand.array!(:"Linalg.eig") |> finite(:eig, stream)
    {values, vectors} = Native.linalg_eig(matrices, stream)
    {or_nan(values, Native.squeeze_axes(finite, [-1], stream), stream), or_nan(vectors, finite, stream)}
  end

  @doc """
  The eigenvalues of square matrices, in `:c64`; NaN for a matrix with elements that are infinite or NaN.

      iex> Mlx.Linalg.eigvals(Mlx.array([[2.0, 0.0], [0.0, 3.0]])) |> Mlx.real() |> Mlx.to_list()
      [2.0, 3.0]

  Python: `mlx.core.linalg.eigvals`.
  """
  @spec eigvals(Array.t(), keyword()) :: Array.t()
  def eigvals(array, options \\ []) do
    stream = stream(options, :eigvals)
    {matrices, finite} = array |> Operand.array!(:"Linalg.eigvals") |> finite(:eigvals, stream)
    matrices |> Native.linalg_eigvals(stream) |> or_nan(Native.squeeze_axes(finite, [-1], stream), stream)
  end

  @doc """
  Eigenvalues, in ascending order, and eigenvectors (in columns) of symmetric or Hermitian matrices.

  Returns `{values, vectors}`.

  Options:

    * `:upper` - read the upper triangle and not the lower one, default false

  Examples:

      iex> {values, _vectors} = Mlx.Linalg.eigh(Mlx.array([[3.0, 0.0], [0.0, 2.0]]))
      iex> Mlx.to_list(values)
      [2.0, 3.0]

  Python: `mlx.core.linalg.eigh`.
  """
  @spec eigh(Array.t(), keyword()) :: {Array.t(), Array.t()}
  def eigh(array, options \\ []), do: hermitian(:eigh, array, options)

  @doc """
  The eigenvalues of symmetric or Hermitian matrices, in ascending order. Options are those of `eigh/2`.

      iex> Mlx.Linalg.eigvalsh(Mlx.array([[3.0, 0.0], [0.0, 2.0]])) |> Mlx.to_list()
      [2.0, 3.0]

  Python: `mlx.core.linalg.eigvalsh`.
  """
  @spec eigvalsh(Array.t(), keyword()) :: Array.t()
  def eigvalsh(array, options \\ []), do: hermitian(:eigvalsh, array, options)

  @doc """
  The LU factorisation with row exchanges, as `{rows, l, u}`: `a` is `l @ u` with its rows in the order that `rows`
  says (`Mlx.take_along_axis` or `Mlx.take` puts them back).

      iex> {rows, l, u} = Mlx.Linalg.lu(Mlx.array([[1.0, 2.0], [4.0, 4.0]]))
      iex> {Mlx.to_list(rows), Mlx.to_list(l), Mlx.to_list(u)}
      {[1, 0], [[1.0, 0.0], [0.25, 1.0]], [[4.0, 4.0], [0.0, 1.0]]}

  Python: `mlx.core.linalg.lu`.
  """
  @spec lu(Array.t(), keyword()) :: {Array.t(), Array.t(), Array.t()}
  def lu(array, options \\ []), do: List.to_tuple(Native.linalg_lu(elements!(array, :lu), stream(options, :lu)))

  @doc """
  The LU factorisation in compact form, as `{lu, pivots}`: both triangles in one matrix, and the row exchanges.

      iex> {lu, pivots} = Mlx.Linalg.lu_factor(Mlx.array([[1.0, 2.0], [4.0, 4.0]]))
      iex> {Mlx.to_list(lu), Mlx.to_list(pivots)}
      {[[4.0, 4.0], [0.25, 1.0]], [1, 1]}

  Python: `mlx.core.linalg.lu_factor`.
  """
  @spec lu_factor(Array.t(), keyword()) :: {Array.t(), Array.t()}
  def lu_factor(array, options \\ []) do
    Native.linalg_lu_factor(elements!(array, :lu_factor), stream(options, :lu_factor))
  end

  @doc """
  The QR factorisation, as `{q, r}`: orthonormal columns and an upper triangle.

      iex> {q, r} = Mlx.Linalg.qr(Mlx.array([[3.0, 1.0], [4.0, 2.0], [0.0, 5.0]]))
      iex> {q.shape, r.shape}
      {{3, 2}, {2, 2}}

  Python: `mlx.core.linalg.qr`.
  """
  @spec qr(Array.t(), keyword()) :: {Array.t(), Array.t()}
  def qr(array, options \\ []), do: Native.linalg_qr(array, stream(options, :qr))

  @doc """
  The singular value decomposition, as `{u, s, vt}`: `a = u @ diag(s) @ vt` with square `u` and `vt`.

  Options:

    * `:compute_uv` - when false, only `s` is computed and returned; default true

  Examples:

      iex> {u, s, vt} = Mlx.Linalg.svd(Mlx.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
      iex> {u.shape, Mlx.to_list(s), vt.shape}
      {{3, 3}, [3.0, 2.0], {2, 2}}

      iex> Mlx.Linalg.svd(Mlx.array([[3.0, 0.0], [0.0, 2.0]]), compute_uv: false) |> Mlx.to_list()
      [3.0, 2.0]

  Python: `mlx.core.linalg.svd`.
  """
  @spec svd(Array.t(), keyword()) :: {Array.t(), Array.t(), Array.t()} | Array.t()
  def svd(array, options \\ []) do
    [compute_uv, _stream] = Options.values(options, :"Linalg.svd", compute_uv: true)

    case Native.linalg_svd(array, compute_uv, stream(options)) do
      [values] -> values
      parts -> List.to_tuple(parts)
    end
  end

  @doc false
  # The stream of an operation that MLX has for the CPU only: the one that was asked for, else one of the CPU.
  @spec stream(keyword()) :: Stream.t() | nil
  def stream(options) do
    stream = Stream.resolve(options, "Mlx.Linalg") || Stream.current()
    if options[:stream], do: stream, else: on_cpu(stream)
  end

  defp on_cpu(stream) do
    cpu = Stream.on_cpu(stream)
    if cpu != stream, do: Telemetry.fallback("Mlx.Linalg", [], :cpu, "MLX has factorisations for the CPU only")
    cpu
  end

  defp stream(options, function) do
    Options.stream(options, :"Linalg.#{function}")
    stream(options)
  end

  # LAPACK's routine for eigenvalues ends the operating system's process when an element is not finite.
  defp finite(%Array{shape: shape} = array, function, stream) when tuple_size(shape) >= 2 do
    finite =
      CalledFunction.name("Mlx.Linalg.#{function}", ["Mlx.is_finite"], fn -> Native.isfinite(array, stream) end)

    finite = Native.all_axes(finite, [-2, -1], true, stream)
    {Native.where(finite, array, 0, stream), finite}
  end

  # MLX says what is wrong with the rank.
  defp finite(array, _function, _stream), do: {array, array}

  defp or_nan(array, finite, stream), do: Native.where(finite, array, :nan, stream)

  # LAPACK's routines for triangles divide by the size.
  defp elements!(%Array{shape: shape} = array, function) do
    if 0 in Enum.take(Enum.reverse(Tuple.to_list(shape)), 2) do
      raise ArgumentError, "Mlx.Linalg.#{function}: the matrix has no elements: #{inspect(shape)}"
    end

    array
  end

  defp elements!(other, _function), do: other

  for name <- [:cholesky, :cholesky_inv, :tri_inv] do
    defp triangle(unquote(name), array, options) do
      [upper, _stream] = Options.values(options, unquote(:"Linalg.#{name}"), upper: false)
      Native.unquote(:"linalg_#{name}")(elements!(array, unquote(name)), upper, stream(options))
    end
  end

  for name <- [:eigh, :eigvalsh] do
    defp hermitian(unquote(name), array, options) do
      [upper, _stream] = Options.values(options, unquote(:"Linalg.#{name}"), upper: false)
      Native.unquote(:"linalg_#{name}")(array, if(upper, do: "U", else: "L"), stream(options))
    end
  end
end
