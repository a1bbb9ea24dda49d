defmodule Mlx.Differential.LinearAlgebra do
  @moduledoc "Rows for `Mlx.Linalg`. Both sides call the same LAPACK, so that factors have the same signs and order."

  import Mlx.Differential.Draw
  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Differential.{Input, Python, Row}

  @doc "The rows."
  def rows do
    [
      row(:norm, [share: 4, refusals: "Mlx has singular values of 16 bits and of integers, in f32"], &norm/0),
      row(:cholesky, fn -> definite("cholesky") end),
      row(:cholesky_inv, fn -> triangular("cholesky_inv") end),
      row(:tri_inv, fn -> triangular("tri_inv") end),
      row(:invert, fn -> square("inv") end),
      row(:pinv, fn -> rectangle("pinv") end),
      row(:solve, &solve/0),
      row(:triangular_solve, &triangular_solve/0),
      row(:cross, &cross/0),
      row(:determinant, fn -> square("det") end),
      row(:slogdet, fn -> square("slogdet") end),
      row(:eig, fn -> square("eig") end),
      row(:eigvals, fn -> square("eigvals") end),
      row(:eigh, fn -> hermitian("eigh") end),
      row(:eigvalsh, fn -> hermitian("eigvalsh") end),
      row(:lu, fn -> square("lu") end),
      row(:lu_factor, fn -> square("lu_factor") end),
      row(:qr, fn -> rectangle("qr") end),
      row(:svd, &svd/0)
    ]
  end

  defp row(function, options \\ [], draw), do: Row.new(function, [module: Mlx.Linalg] ++ options, draw)

  defp type, do: one_of([:f32, :f32, :f64])
  defp batch, do: one_of([{}, {}, {2}, {2, 3}])

  defp matrix(rows, columns),
    do:
      batch() |> then(&Tuple.insert_at(&1, tuple_size(&1), rows)) |> then(&Tuple.insert_at(&1, tuple_size(&1), columns))

  defp call(function, arguments), do: Python.call("mx.linalg.#{function}", arguments)

  # Without whole numbers and repeated rows, of which some are singular: Python ends when it inverts such a matrix.
  defp regular(shape),
    do: random("a", shape: shape, type: type(), values: -4..4, layout: one_of([:plain, :transposed, :part]))

  defp square(function) do
    n = one_of(1..5)
    a = regular(matrix(n, n))
    {[a], call(function, [a])}
  end

  defp rectangle(function) do
    a = random("a", shape: matrix(one_of(1..5), one_of(1..5)), type: type(), values: :finite)
    {[a], call(function, [a])}
  end

  # The product of a triangle and its transpose.
  defp definite(function) do
    n = one_of(1..4)
    lower = for row <- 0..(n - 1), do: for(column <- 0..(n - 1), do: if(column > row, do: 0, else: one_of(1..4)))
    product = for row <- lower, do: for(other <- lower, do: row |> Enum.zip_with(other, &*/2) |> Enum.sum())
    {a, upper} = {of("a", product, type()), flag()}
    {[a, [upper: upper]], call(function, [a, {:upper, upper}])}
  end

  defp triangle(upper, name \\ "a") do
    n = one_of(1..4)
    elements = for row <- 0..(n - 1), do: for(column <- 0..(n - 1), do: inside(row, column, upper))
    of(name, elements, type())
  end

  defp inside(row, column, _upper) when row == column, do: one_of([1, 2, 4, -3])
  defp inside(row, column, upper), do: if(column > row == upper, do: one_of(-4..4), else: 0)

  defp triangular(function) do
    upper = flag()
    a = triangle(upper)
    {[a, [upper: upper]], call(function, [a, {:upper, upper}])}
  end

  defp solve do
    n = one_of(1..4)
    a = regular({n, n})
    b = random("b", shape: one_of([{n}, {n, 3}]), type: a.type, values: :finite)
    {[a, b], call("solve", [a, b])}
  end

  defp triangular_solve do
    upper = flag()
    %Input{shape: {n, n}} = a = triangle(upper)
    b = random("b", shape: one_of([{n}, {n, 3}]), type: a.type, values: :finite)
    {[a, b, [upper: upper]], call("solve_triangular", [a, b, {:upper, upper}])}
  end

  # MLX takes the parts of a reversed array for contiguous, which Python does not prevent.
  defp in_order(input), do: {:python, Python.call("mx.contiguous", [input])}

  defp cross do
    shape = shape(rank: 1..3)
    position = one_of(0..(tuple_size(shape) - 1))
    axis = if chance?(2), do: position, else: position - tuple_size(shape)
    a = random("a", shape: put_elem(shape, position, one_of(2..3)), type: [:f32, :f64, :f16, :s32])
    b = random("b", shape: put_elem(shape, position, one_of(2..3)), type: [:f32, :f64, :f16, :s32])
    {[a, b, [axis: axis]], call("cross", [in_order(a), in_order(b), {:axis, axis}])}
  end

  defp hermitian(function) do
    n = one_of(1..5)
    a = random("a", shape: matrix(n, n), type: one_of([:f32, :f64, :c64]), values: :finite)
    upper = flag()
    {[a, [upper: upper]], call(function, [a, if(upper, do: "U", else: "L")])}
  end

  defp svd do
    a = random("a", shape: matrix(one_of(1..5), one_of(1..5)), type: type(), values: :finite)
    compute_uv = flag()
    {[a, [compute_uv: compute_uv]], call("svd", [a, {:compute_uv, compute_uv}])}
  end

  @names %{frobenius: "fro", nuclear: "nuc"}

  defp norm do
    x = random("x", shape: shape(rank: 1..3, empty: false), type: [:f32, :f32, :f64, :f16, :s32, :c64], values: :finite)
    keep = flag()

    {ord, axes} =
      case {tuple_size(x.shape), :rand.uniform(3)} do
        {_rank, 1} ->
          {nil, one_of([nil, axis(x.shape)])}

        {1, _} ->
          {vector_order(), one_of([nil, 0, [-1]])}

        {_rank, 2} ->
          {vector_order(), axis(x.shape)}

        {rank, 3} ->
          {one_of([nil, :frobenius, :nuclear, :infinity, :neg_infinity, 1, -1, 2, -2]),
           Enum.take_random(0..(rank - 1), 2)}
      end

    {[x, [ord: ord, axes: axes, keep_axes: keep]],
     call("norm", [x, {:ord, Map.get(@names, ord, ord)}, {:axis, axes}, {:keepdims, keep}])}
  end

  defp vector_order, do: one_of([0, 1, -1, 2, 3, 0.5, :infinity, :neg_infinity])
end
