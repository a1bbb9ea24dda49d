defmodule Mlx.Descriptions.LinearAlgebra do
  @moduledoc "`Mlx.Linalg`. Both sides call the same LAPACK, so that factors have the same signs and order."

  use Mlx.Description, of: Mlx.Linalg

  import Mlx.Differential.Input, only: [of: 3, random: 2]

  alias Mlx.Conformance.LinearAlgebra
  alias Mlx.Differential.Input

  @none "MLX has none"
  # The larger samples are singular.
  @regular [array({3, 3}), nil]

  @doc "The descriptions."
  def operations, do: numbers() ++ solutions() ++ factors_of_triangles() ++ eigenvalues() ++ factors()

  defp numbers do
    norm = [
      a: :array,
      ord: default({:either, [:number, :word]}, nil),
      axis: option(:axes, :axes),
      keepdims: option(:boolean, :keep_axes)
    ]

    [
      operation(:norm,
        python: [
          python("linalg.norm", norm,
            adapter: &LinearAlgebra.norm/3,
            note: "axis is the option :axes; the orders fro and nuc are :frobenius and :nuclear"
          ),
          python("matrix_norm", norm, adapter: &LinearAlgebra.norm/3, note: "another name of norm in MLX")
        ],
        examples: [
          linalg_norm: [[array({4, 4}), 2.0, [0, 1], false, nil], [array({4}), 3.0, [0], true, nil]],
          linalg_norm_matrix: [
            [array({4, 4}), "fro", [0, 1], false, nil],
            [array({4, 4}), "nuc", [0, 1], true, nil]
          ]
        ],
        refusals: "Mlx has singular values of 16 bits and of integers, in f32",
        without_options: :array,
        share: 4,
        draw: &norm/0
      ),
      operation(:determinant, python: of_one("det"), draw: fn -> square("det") end),
      operation(:slogdet, python: of_one("slogdet"), draw: fn -> square("slogdet") end),
      operation(:cross,
        python: python("linalg.cross", a: :array, b: :array, axis: option(:integer, :axis)),
        examples: [linalg_cross: [[array({4, 3}), array({4, 3}), 1, nil]]],
        draw: &cross/0
      )
    ]
  end

  defp solutions do
    [
      operation(:invert,
        python: of_one("inv"),
        examples: [linalg_inv: [@regular]],
        draw: fn -> square("inv") end,
        no_gradient: @none
      ),
      operation(:pinv,
        python: of_one("pinv"),
        examples: [linalg_pinv: [@regular]],
        draw: fn -> rectangle("pinv") end,
        no_gradient: @none
      ),
      operation(:solve,
        python: python("linalg.solve", a: :array, b: :array),
        examples: [linalg_solve: [[array({3, 3}), array({3, 3}), nil]]],
        draw: &solve/0,
        no_gradient: @none
      ),
      operation(:triangular_solve,
        python: python("linalg.solve_triangular", a: :array, b: :array, upper: option(:boolean, :upper)),
        draw: &triangular_solve/0,
        no_gradient: @none
      )
    ]
  end

  defp factors_of_triangles do
    for {name, draw} <- [cholesky: &definite/1, cholesky_inv: &triangular/1, tri_inv: &triangular/1] do
      python = python("linalg.#{name}", a: :array, upper: option(:boolean, :upper))
      operation(name, python: python, draw: fn -> draw.("#{name}") end, no_gradient: @none)
    end
  end

  defp eigenvalues do
    for name <- [:eig, :eigvals] do
      operation(name, python: of_one("#{name}"), draw: fn -> square("#{name}") end, no_gradient: @none)
    end ++
      for name <- [:eigh, :eigvalsh] do
        operation(name,
          python:
            python("linalg.#{name}", [a: :array, UPLO: default(:text, "L")],
              adapter: &LinearAlgebra.hermitian/3,
              note: "UPLO is the option :upper"
            ),
          examples: [{:"linalg_#{name}", [[array({4, 4}), "L", nil]]}],
          without_options: :array,
          draw: fn -> hermitian("#{name}") end,
          no_gradient: @none
        )
      end
  end

  defp factors do
    for {name, draw} <- [lu: &square/1, lu_factor: &square/1, qr: &rectangle/1] do
      operation(name, python: of_one("#{name}"), draw: fn -> draw.("#{name}") end, no_gradient: @none)
    end ++
      [
        operation(:svd,
          python: python("linalg.svd", a: :array, compute_uv: option(:boolean, :compute_uv)),
          without_options: :array,
          draw: &svd/0,
          no_gradient: @none
        )
      ]
  end

  defp of_one(name), do: python("linalg.#{name}", a: :array)

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
