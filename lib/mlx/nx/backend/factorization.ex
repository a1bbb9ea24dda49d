if Code.ensure_loaded?(Nx) do
  defmodule Mlx.Nx.Backend.Factorization do
    @moduledoc false
    # Factors of matrices. MLX has them for real numbers of 32 and 64 bits, and for the CPU only.

    import Mlx.Nx.Backend.Conversion, only: [cast: 2, shaped: 2, type: 1]

    alias Mlx.{Array, Linalg, Native, Type}
    alias Nx.Tensor

    @doc "The array with a type that MLX factorises."
    @spec computable(Array.t()) :: Array.t()
    def computable(%Array{type: :f64} = array), do: array
    def computable(%Array{} = array), do: cast(array, :f32)

    # LAPACK ends at the first column whose diagonal element is not positive and leaves it so. A 0 in the last column belongs
    # to a matrix that is semidefinite, and all of the factor is there.
    @spec cholesky(Array.t()) :: Array.t()
    def cholesky(%Array{shape: shape} = array) do
      size = elem(shape, tuple_size(shape) - 1)
      factor = array |> computable() |> Native.linalg_cholesky(false, Linalg.stream([]))
      diagonal = Native.diagonal(factor, 0, -2, -1, nil)
      last = 0 |> Native.arange(size, 1, :s32, nil) |> Native.equal(size - 1, nil)
      zero = diagonal |> Native.equal(0, nil) |> Native.logical_and(last, nil)
      valid = diagonal |> Native.greater(0, nil) |> Native.logical_or(zero, nil)
      definite = valid |> Native.all_axes([-1], true, nil) |> Native.expand_dims(-1, nil)
      Native.where(definite, factor, :nan, nil)
    end

    @spec lu({Tensor.t(), Tensor.t(), Tensor.t()}, Array.t()) :: {Array.t(), Array.t(), Array.t()}
    def lu({p, _l, _u}, %Array{shape: shape} = array) do
      [order, lower, upper] = array |> computable() |> Native.linalg_lu(Linalg.stream([]))
      # Row i of the array is row order[i] of l * u, so that p * l * u is the array.
      size = elem(shape, tuple_size(shape) - 1)
      positions = Native.arange(0, size, 1, :s32, nil)
      permutation = order |> cast(:s32) |> column() |> Native.equal(positions, nil)
      {cast(permutation, type(p)), lower, upper}
    end

    @doc "The factors Q and R, where the diagonal of R is not negative."
    @spec qr(Array.t(), :reduced | :complete) :: {Array.t(), Array.t()}
    def qr(%Array{shape: shape} = array, mode) do
      rank = tuple_size(shape)
      {rows, columns} = {elem(shape, rank - 2), elem(shape, rank - 1)}

      if mode == :complete and rows > columns do
        array |> computable() |> complete_qr(rows, columns)
      else
        array |> computable() |> Native.linalg_qr(Linalg.stream([])) |> oriented()
      end
    end

    # A column of Q and the row of R with its number may both change their sign. Adding 0 turns -0 into 0.
    defp oriented({q, r}) do
      count = min(elem(r.shape, tuple_size(r.shape) - 2), elem(r.shape, tuple_size(r.shape) - 1))
      diagonal = Native.diagonal(r, 0, -2, -1, nil)
      signs = diagonal |> Native.less(0, nil) |> Native.where(Native.scalar(-1, r.type), Native.scalar(1, r.type), nil)
      missing = elem(q.shape, tuple_size(q.shape) - 1) - count

      signs =
        if missing == 0,
          do: signs,
          else: Native.pad(signs, [-1], [0], [missing], Native.scalar(1, r.type), "constant", nil)

      {times(q, Native.expand_dims(signs, -2, nil)), times(r, column(signs))}
    end

    defp times(array, signs), do: array |> Native.multiply(signs, nil) |> Native.add(0, nil)

    defp column(vectors), do: Native.expand_dims(vectors, -1, nil)

    # Columns of zeros make Q square, and leave what it has for the other columns.
    defp complete_qr(%Array{shape: shape} = array, rows, columns) do
      zero = Native.scalar(0, array.type)
      square = Native.pad(array, [-1], [0], [rows - columns], zero, "constant", nil)
      {q, r} = square |> Native.linalg_qr(Linalg.stream([])) |> oriented()
      {q, first(r, shape)}
    end

    # Nx has the eigenvalue with the greatest absolute value first.
    @spec eigh(Array.t()) :: {Array.t(), Array.t()}
    def eigh(array) do
      {values, vectors} = array |> computable() |> Native.linalg_eigh("L", Linalg.stream([]))
      order = values |> Native.abs(nil) |> Native.negative(nil) |> Native.argsort_axis(-1, nil)
      columns = order |> Native.expand_dims(-2, nil) |> Native.broadcast_to(vectors.shape, nil)
      {Native.take_along_axis(values, order, -1, nil), Native.take_along_axis(vectors, columns, -1, nil)}
    end

    # A singular value that is smaller than the rounding errors of the greatest is one of them. Nx takes it for a number
    # unless it is 0, and a pseudoinverse is made of its reciprocal.
    @spec svd({Tensor.t(), Tensor.t(), Tensor.t()}, Array.t()) :: {Array.t(), Array.t(), Array.t()}
    def svd({u_template, _s, vt_template}, %Array{shape: shape} = array) do
      [u, s, vt] = array |> computable() |> Native.linalg_svd(true, Linalg.stream([]))
      rank = tuple_size(shape)
      error = max(elem(shape, rank - 2), elem(shape, rank - 1)) * Type.epsilon(s.type)
      least = s |> Native.max_axis(-1, true, nil) |> Native.multiply(error, nil)
      s = s |> Native.less_equal(least, nil) |> Native.where(Native.scalar(0, s.type), s, nil)
      # Adding 0 turns -0 into 0.
      {u |> first(u_template.shape) |> Native.add(0, nil), s, vt |> first(vt_template.shape) |> Native.add(0, nil)}
    end

    # The product of the diagonal of U, whose sign changes with every pair of rows that the permutation exchanges. MLX's own
    # is the exponential of a sum of logarithms, which loses digits.
    @spec determinant(Array.t()) :: Array.t()
    def determinant(%Array{shape: shape} = array) do
      size = elem(shape, tuple_size(shape) - 1)
      [order, _lower, upper] = array |> computable() |> Native.linalg_lu(Linalg.stream([]))
      order = cast(order, :s32)
      exchanged = Native.greater(column(order), Native.expand_dims(order, -2, nil), nil)
      earlier = Native.tri(size, size, 0, :bool, nil) |> Native.transpose(nil)
      inversions = exchanged |> Native.logical_and(earlier, nil) |> Native.sum_axes([-2, -1], false, nil)
      odd = inversions |> Native.remainder(2, nil) |> Native.equal(1, nil)
      product = upper |> Native.diagonal(0, -2, -1, nil) |> Native.prod_axis(-1, false, nil)
      Native.where(odd, Native.negative(product, nil), product, nil)
    end

    # A stack of matrices or vectors at any depth becomes one of matrices.
    @spec solve(Tensor.t(), Array.t(), Array.t()) :: Array.t()
    def solve(out, a, b) do
      type = if :f64 in [a.type, b.type], do: :f64, else: :f32
      size = elem(a.shape, tuple_size(a.shape) - 1)
      columns = if tuple_size(b.shape) < tuple_size(a.shape), do: 1, else: elem(b.shape, tuple_size(b.shape) - 1)
      a = a |> cast(type) |> Native.reshape({-1, size, size}, nil)
      b = b |> cast(type) |> Native.reshape({-1, size, columns}, nil)
      a |> Native.linalg_solve(b, Linalg.stream([])) |> shaped(out.shape)
    end

    # The first rows and columns, as many as a shape has.
    defp first(%Array{shape: shape} = array, shape), do: array

    defp first(array, shape) do
      sizes = Tuple.to_list(shape)
      Native.slice(array, Enum.map(sizes, fn _ -> 0 end), sizes, Enum.map(sizes, fn _ -> 1 end), nil)
    end
  end
end
