defmodule Mlx.LinalgTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  alias Mlx.Linalg

  doctest Mlx.Error
  doctest Mlx.Linalg

  test "a singular matrix is called so, with the functions that cannot take it" do
    singular = Mlx.array([[0.0, 0.0], [1.0, 0.0]])

    for {name, result} <- [
          invert: Linalg.invert(singular),
          solve: Linalg.solve(singular, Mlx.array([1.0, 2.0])),
          triangular_solve: Linalg.triangular_solve(singular, Mlx.array([1.0, 2.0])),
          tri_inv: Linalg.tri_inv(singular),
          cholesky_inv: Linalg.cholesky_inv(singular)
        ],
        compute <- [&Mlx.eval/1, &Mlx.to_list/1] do
      error = assert_raise Mlx.Error, ~r/^Mlx.(eval|to_list): .*singular matrix/, fn -> compute.(result) end
      assert Exception.message(error) =~ "#{name}/"
    end
  end

  @moduletag :oracle

  defp wave(shape, type \\ :f32) do
    Mlx.arange(1, Tuple.product(shape) + 1, type: type) |> Mlx.multiply(1.7) |> Mlx.sin() |> Mlx.reshape(shape)
  end

  # Symmetric and positive definite.
  defp definite(shape, type \\ :f32) do
    x = wave(shape, type)
    x |> Mlx.matmul(Mlx.swap_axes(x, -1, -2)) |> Mlx.add(Mlx.eye(elem(shape, tuple_size(shape) - 1), type: type))
  end

  defp oracle(actual, expression, arrays),
    do: assert_oracle(actual, String.replace(expression, "STREAM", "stream=mx.cpu"), arrays, ulps: 0)

  test "norms" do
    x = wave({3, 4})

    for {ord, python} <- [
          {nil, "None"},
          {:frobenius, "'fro'"},
          {:nuclear, "'nuc'"},
          {:infinity, "float('inf')"},
          {:neg_infinity, "-float('inf')"},
          {1, "1"},
          {-1, "-1"},
          {2, "2"},
          {-2, "-2"}
        ] do
      oracle(Linalg.norm(x, ord: ord), "mx.linalg.norm(x, #{python}, STREAM)", x: x)
      stack = wave({2, 3, 4})
      kept = Linalg.norm(stack, ord: ord, axes: [1, 2], keep_axes: true)
      oracle(kept, "mx.linalg.norm(x, #{python}, [1, 2], True, STREAM)", x: stack)
    end

    for ord <- [0, 1, 2, 3.5, -1] do
      oracle(Linalg.norm(x, ord: ord, axes: 1), "mx.linalg.norm(x, #{ord}, 1, STREAM)", x: x)
    end

    oracle(Linalg.norm(wave({2, 2, 2})), "mx.linalg.norm(x, STREAM)", x: wave({2, 2, 2}))
    assert_raise Mlx.Error, fn -> Linalg.norm(x, ord: :frobenius, axes: [0]) end
    assert_raise Mlx.Error, fn -> Linalg.norm(x, ord: 3) end
  end

  for {name, python} <- [cholesky: "cholesky", tri_inv: "tri_inv", cholesky_inv: "cholesky_inv"] do
    test "#{name}" do
      for shape <- [{3, 3}, {2, 4, 4}], upper <- [false, true] do
        x = definite(shape)
        triangle = if upper, do: Mlx.triu(x), else: Mlx.tril(x)
        input = if unquote(name) == :cholesky, do: x, else: triangle
        actual = Linalg.unquote(name)(input, upper: upper)
        oracle(actual, "mx.linalg.#{unquote(python)}(x, #{if upper, do: "True", else: "False"}, STREAM)", x: input)
      end
    end
  end

  for {name, python} <- [
        invert: "inv",
        pinv: "pinv",
        determinant: "det",
        slogdet: "slogdet",
        eig: "eig",
        eigvals: "eigvals",
        eigh: "eigh",
        eigvalsh: "eigvalsh",
        lu: "lu",
        lu_factor: "lu_factor",
        qr: "qr",
        svd: "svd"
      ] do
    test "#{name}" do
      for shape <- [{1, 1}, {3, 3}, {5, 5}, {2, 3, 3}] do
        x = definite(shape)
        oracle(Linalg.unquote(name)(x), "mx.linalg.#{unquote(python)}(x, STREAM)", x: x)
      end
    end
  end

  test "matrices that are not square" do
    for shape <- [{4, 2}, {2, 4}] do
      x = wave(shape)
      oracle(Linalg.pinv(x), "mx.linalg.pinv(x, STREAM)", x: x)
      oracle(Linalg.qr(x), "mx.linalg.qr(x, STREAM)", x: x)
      oracle(Linalg.lu(x), "mx.linalg.lu(x, STREAM)", x: x)
      oracle(Linalg.svd(x), "mx.linalg.svd(x, STREAM)", x: x)
      oracle(Linalg.svd(x, compute_uv: false), "mx.linalg.svd(x, False, STREAM)", x: x)
      assert_raise Mlx.Error, fn -> Linalg.invert(x) end
      assert_raise Mlx.Error, fn -> Linalg.eigh(x) end
      assert_raise Mlx.Error, fn -> Linalg.determinant(x) end
    end
  end

  test "triangles, systems and cross products" do
    a = definite({3, 3})
    b = wave({3, 2})
    oracle(Linalg.solve(a, b), "mx.linalg.solve(a, b, STREAM)", a: a, b: b)
    oracle(Linalg.solve(a, b[[.., 0]]), "mx.linalg.solve(a, b[:, 0], STREAM)", a: a, b: b)

    lower = Mlx.tril(a)
    oracle(Linalg.triangular_solve(lower, b), "mx.linalg.solve_triangular(a, b, STREAM)", a: lower, b: b)
    upper = Mlx.triu(a)
    solved = Linalg.triangular_solve(upper, b, upper: true)
    oracle(solved, "mx.linalg.solve_triangular(a, b, upper=True, STREAM)", a: upper, b: b)

    oracle(Linalg.cross(a, wave({3, 3})), "mx.linalg.cross(a, b)", a: a, b: wave({3, 3}))
    oracle(Linalg.cross(b, b[[.., ..]], axis: 0), "mx.linalg.cross(b, b, axis=0)", b: b)
    oracle(Linalg.eigh(a, upper: true), "mx.linalg.eigh(a, 'U', STREAM)", a: a)
    oracle(Linalg.eigvalsh(a, upper: true), "mx.linalg.eigvalsh(a, 'U', STREAM)", a: a)
  end

  test "double precision" do
    x = definite({3, 3}, :f64)
    assert %{type: :f64} = inverse = Linalg.invert(x)
    oracle(inverse, "mx.linalg.inv(x, STREAM)", x: x)
  end

  test "a singular matrix raises where the value is read" do
    singular = Mlx.array([[1.0, 2.0], [2.0, 4.0]])
    assert_raise Mlx.Error, fn -> Mlx.eval(Linalg.invert(singular)) end
    assert_raise Mlx.Error, fn -> Mlx.to_list(Linalg.solve(singular, Mlx.array([1.0, 2.0]))) end
  end

  test "wrong arguments" do
    x = definite({2, 2})
    assert_raise Mlx.Error, fn -> Linalg.qr(Mlx.array([1, 2])) end
    assert_raise Mlx.Error, fn -> Linalg.svd(Mlx.array([[1, 2], [3, 4]])) end
    assert_raise Mlx.Error, fn -> Linalg.solve(x, wave({3})) end
    assert_raise ArgumentError, ~r/Mlx.Linalg.cholesky: unknown option/, fn -> Linalg.cholesky(x, lower: true) end
    assert_raise ArgumentError, ~r/Mlx.Linalg.qr: unknown option/, fn -> Linalg.qr(x, mode: :complete) end
  end

  test "factorisations take a CPU stream where none is given" do
    assert Linalg.stream([]) == nil or Linalg.stream([]).device == :cpu
    assert Linalg.stream(stream: :cpu).device == :cpu
    stream = Mlx.Stream.new(:cpu)
    assert Mlx.with_stream(stream, fn -> Linalg.stream([]) end) == stream
  end

  test "matrices without elements raise where LAPACK would divide by their size" do
    for shape <- [{0, 0}, {2, 0, 0}, {0, 3}, {3, 0}],
        function <- [:lu, :lu_factor, :invert, :tri_inv, :cholesky_inv] do
      assert_raise ArgumentError, ~r/no elements/, fn -> apply(Linalg, function, [Mlx.zeros(shape)]) end
    end

    empty = Mlx.zeros({0, 0})
    assert_raise ArgumentError, ~r/no elements/, fn -> Linalg.solve(empty, Mlx.zeros({0})) end
    assert_raise ArgumentError, ~r/no elements/, fn -> Linalg.triangular_solve(empty, Mlx.zeros({0, 1})) end
    assert Mlx.to_list(Linalg.svd(empty, compute_uv: false)) == []
  end

  test "eigenvalues of matrices that are not finite are NaN" do
    for bad <- [:nan, :infinity] do
      x = Mlx.stack([Mlx.full({2, 2}, bad), Mlx.eye(2)])
      {values, vectors} = Linalg.eig(x)
      assert Mlx.to_list(Mlx.is_nan(values)) == [[true, true], [false, false]]
      assert Mlx.to_list(Mlx.all(Mlx.is_nan(vectors), axes: [1, 2])) == [true, false]
      assert Mlx.to_list(Mlx.is_nan(Linalg.eigvals(x))) == [[true, true], [false, false]]
    end

    assert_raise Mlx.Error, fn -> Linalg.eig(Mlx.array([1.0])) end
  end

  test "the cross products of reversed arrays" do
    reversed = Mlx.as_strided(Mlx.arange(9, type: :f32), {3, 3}, [-3, -1], offset: 8)
    same = Mlx.contiguous(reversed)
    ones = Mlx.ones({3, 3})
    assert Mlx.to_list(Linalg.cross(reversed, ones, axis: 0)) == Mlx.to_list(Linalg.cross(same, ones, axis: 0))
    assert Mlx.to_list(Linalg.cross(reversed, ones)) == Mlx.to_list(Linalg.cross(same, ones))
  end
end
