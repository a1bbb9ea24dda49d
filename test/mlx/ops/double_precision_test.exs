defmodule Mlx.Ops.DoublePrecisionTest do
  # MLX has the digits of f32 only for these functions of f64, Python too: libm and formulas are the judges.
  use ExUnit.Case, async: true

  setup {Mlx.OnCPU, :choose}

  @numbers [-700.5, -30.0, -2.5, -0.75, -1.0e-5, 0.0, 0.3, 1.0, 3.0, 20.0, 100.0, 600.0] ++
             for(k <- [0.5, 1, 1.5, 2], do: k * :math.pi())

  @positive [1.0e-300, 1.0e-5, 0.3, 0.999, 1.0, 3.0, 8.0, 1000.0, 1.0e200]

  defp sigmoid(x) when x < 0, do: :math.exp(x) / (1 + :math.exp(x))
  defp sigmoid(x), do: 1 / (1 + :math.exp(-x))

  defp bell(x), do: 2 / :math.sqrt(:math.pi()) * :math.exp(-min(x * x, 1000.0))

  # Each with its value, and its first and second derivative.
  defp functions do
    [
      {&Mlx.exp/1, &:math.exp/1, &:math.exp/1, &:math.exp/1},
      {&Mlx.sin/1, &:math.sin/1, &:math.cos/1, &(-:math.sin(&1))},
      {&Mlx.cos/1, &:math.cos/1, &(-:math.sin(&1)), &(-:math.cos(&1))},
      {&Mlx.expm1/1, &expm1/1, &:math.exp/1, &:math.exp/1},
      {&Mlx.erf/1, &:math.erf/1, &bell/1, &(-2 * &1 * bell(&1))},
      {&Mlx.sigmoid/1, &sigmoid/1, &(sigmoid(&1) * sigmoid(-&1)),
       &(sigmoid(&1) * sigmoid(-&1) * (sigmoid(-&1) - sigmoid(&1)))},
      {&Mlx.logaddexp(&1, 0.25), &logaddexp(&1, 0.25), &sigmoid(&1 - 0.25), &(sigmoid(&1 - 0.25) * sigmoid(0.25 - &1))}
    ]
  end

  # Of those with poles, or with no value for negative numbers.
  defp functions_of_some do
    [
      {&Mlx.tan/1, [-1.4, -0.75, -1.0e-5, 0.0, 0.3, 1.0, 1.5, 2.0, 40.0], &:math.tan/1, &(1 + :math.tan(&1) ** 2),
       &(2 * :math.tan(&1) * (1 + :math.tan(&1) ** 2))},
      {&Mlx.log2/1, @positive, &:math.log2/1, &(1 / &1 / :math.log(2)), &(-1 / &1 / &1 / :math.log(2))},
      {&Mlx.log10/1, @positive, &:math.log10/1, &(1 / &1 / :math.log(10)), &(-1 / &1 / &1 / :math.log(10))}
    ]
  end

  # From its series where the difference loses digits.
  defp expm1(x) when abs(x) < 0.5, do: Enum.reduce(20..1//-1, 0.0, fn n, sum -> x / n * (1 + sum) end)
  defp expm1(x), do: :math.exp(x) - 1

  defp logaddexp(a, b), do: max(a, b) + :math.log(1 + :math.exp(-abs(a - b)))

  defp assert_close(results, fun, numbers, tolerance) do
    for {result, number} <- Enum.zip(Mlx.to_list(results), numbers) do
      exact = fun.(number)

      assert abs(result - exact) <= tolerance * abs(exact) + 1.0e-300,
             "#{inspect(fun)}(#{number}) = #{result}, not #{exact}"
    end
  end

  defp f64(numbers), do: Mlx.array(numbers, type: :f64)

  test "functions have the digits of f64, as have their derivatives" do
    for {fun, value, first, second} <- functions() do
      assert fun.(f64(@numbers)).type == :f64
      assert_close(fun.(f64(@numbers)), value, @numbers, 4.0e-15)
      gradient = Mlx.grad(&Mlx.sum(fun.(&1)))
      assert_close(gradient.(f64(@numbers)), first, @numbers, 1.0e-13)
      # The differences in these round where they are next to 0.
      steep = Enum.reject(@numbers, &(abs(&1) < 0.1))
      assert_close(Mlx.grad(&Mlx.sum(gradient.(&1))).(f64(steep)), second, steep, 1.0e-12)
    end
  end

  test "those that have a derivative in some places only have its digits" do
    for {fun, numbers, value, first, second} <- functions_of_some() do
      assert_close(fun.(f64(numbers)), value, numbers, 4.0e-15)
      gradient = Mlx.grad(&Mlx.sum(fun.(&1)))
      {_values, tangents} = Mlx.jvp(fun, [f64(numbers)], [Mlx.ones({length(numbers)}, type: :f64)])
      assert_close(gradient.(f64(numbers)), first, numbers, 4.0e-15)
      assert_close(tangents, first, numbers, 4.0e-15)
      assert_close(Mlx.vmap(Mlx.grad(fun)).(f64(numbers)), first, numbers, 4.0e-15)
      numbers = Enum.filter(numbers, &(abs(&1) > 1.0e-100 and abs(&1) < 1.0e100))
      assert_close(Mlx.grad(&Mlx.sum(gradient.(&1))).(f64(numbers)), second, numbers, 1.0e-14)
    end

    assert Mlx.to_list(Mlx.log2(f64([0.125, 1.0, 8.0]))) == [-3.0, 0.0, 3.0]
    assert Mlx.to_list(Mlx.log10(f64([0.01, 1.0, 1000.0]))) == [-2.0, 0.0, 3.0]
    assert Mlx.to_list(Mlx.grad(&Mlx.sum(Mlx.log2(&1))).(f64([0.0, :infinity, :nan]))) == [:infinity, 0.0, :nan]
  end

  test "functions are mapped, compiled, and put on streams" do
    for {fun, value, first, _second} <- functions() do
      assert_close(Mlx.vmap(fun).(f64(@numbers)), value, @numbers, 4.0e-15)
      {_values, tangents} = Mlx.jvp(fun, [f64(@numbers)], [Mlx.ones({length(@numbers)}, type: :f64)])
      assert_close(tangents, first, @numbers, 1.0e-13)
    end

    assert_close(Mlx.compile(&Mlx.sigmoid/1).(f64(@numbers)), &sigmoid/1, @numbers, 4.0e-15)
    stream = Mlx.Stream.new(:cpu)
    assert Mlx.to_number(Mlx.exp(Mlx.array(1.0, type: :f64), stream: stream)) == :math.exp(1)
    assert_raise ArgumentError, ~r/^Mlx.exp: unknown option :axis/, fn -> Mlx.exp(f64([1.0]), axis: 0) end
  end

  test "their ends are those of the functions" do
    ends = f64([:nan, :infinity, :neg_infinity, -0.0])

    for {fun, expected} <- [
          {&Mlx.exp/1, [:nan, :infinity, 0.0, 1.0]},
          {&Mlx.sin/1, [:nan, :nan, :nan, 0.0]},
          {&Mlx.cos/1, [:nan, :nan, :nan, 1.0]},
          {&Mlx.expm1/1, [:nan, :infinity, -1.0, -0.0]},
          {&Mlx.tan/1, [:nan, :nan, :nan, -0.0]},
          {&Mlx.log2/1, [:nan, :infinity, :nan, :neg_infinity]},
          {&Mlx.log10/1, [:nan, :infinity, :nan, :neg_infinity]},
          {&Mlx.erf/1, [:nan, 1.0, -1.0, -0.0]},
          {&Mlx.sigmoid/1, [:nan, 1.0, 0.0, 0.5]},
          {&Mlx.logaddexp(&1, &1), [:nan, :infinity, :neg_infinity, :math.log(2)]},
          {&Mlx.logaddexp(&1, :infinity), [:nan, :infinity, :infinity, :infinity]},
          {&Mlx.logaddexp(:nan, &1), [:nan, :nan, :nan, :nan]}
        ] do
      assert inspect(Mlx.to_list(fun.(ends))) == inspect(expected)
    end

    assert Mlx.to_list(Mlx.exp(f64([-745.0, 709.7, 710.0])))
           |> Enum.zip([:math.exp(-745.0), :math.exp(709.7), :infinity])
           |> Enum.all?(fn {a, b} -> a == b or abs(a / b - 1) < 4.0e-16 end)
  end

  test "the inverse error function" do
    numbers = [-0.999, -0.5, 1.0e-9, 0.3, 0.99999]
    assert_close(numbers |> f64() |> Mlx.erf_inv() |> Mlx.erf(), & &1, numbers, 1.0e-14)
    slope = fn x -> x |> f64() |> then(Mlx.grad(&Mlx.sum(Mlx.erf_inv(&1)))) end
    roots = numbers |> f64() |> Mlx.erf_inv() |> Mlx.to_list()

    assert_close(
      slope.(numbers),
      &(1 / bell(Enum.at(roots, Enum.find_index(numbers, fn x -> x == &1 end)))),
      numbers,
      1.0e-10
    )
  end

  test "softmax and logarithms of sums of exponentials" do
    rows = [[0.1, 0.2, 0.3], [1000.0, 0.0, -1000.0], [-3.0, :neg_infinity, 2.0]]
    sums = for row <- rows, do: row |> Enum.map(&exponential(&1, row)) |> Enum.sum()
    expected = for {row, sum} <- Enum.zip(rows, sums), x <- row, do: exponential(x, row) / sum

    assert_close(
      rows |> f64() |> Mlx.softmax(axes: -1) |> Mlx.reshape({9}),
      &Enum.at(expected, &1),
      Enum.to_list(0..8),
      4.0e-15
    )

    logarithms = for {row, sum} <- Enum.zip(rows, sums), do: greatest(row) + :math.log(sum)
    assert_close(Mlx.logsumexp(f64(rows), axes: 1), &Enum.at(logarithms, &1), [0, 1, 2], 4.0e-15)
    assert Mlx.logsumexp(f64(rows), axes: [1], keep_axes: true).shape == {3, 1}
    assert Mlx.logsumexp(f64(rows)).shape == {}

    # The gradient of the logarithm is the softmax.
    gradient = Mlx.grad(&Mlx.logsumexp/1).(f64(hd(rows)))
    assert_close(gradient, &Enum.at(expected, &1), [0, 1, 2], 4.0e-15)
    weights = f64([1.0, 2.0, 5.0])
    slope = Mlx.grad(&Mlx.sum(Mlx.multiply(Mlx.softmax(&1), weights))).(f64(hd(rows)))
    [p, q, r] = Enum.take(expected, 3)
    mean = p + 2 * q + 5 * r
    assert_close(slope, &Enum.at([p * (1 - mean), q * (2 - mean), r * (5 - mean)], &1), [0, 1, 2], 1.0e-14)

    assert Mlx.to_list(Mlx.softmax(f64([:neg_infinity, :neg_infinity]))) == [:nan, :nan]
    assert Mlx.to_number(Mlx.logsumexp(f64([:neg_infinity, :neg_infinity]))) == :neg_infinity
    assert Mlx.to_number(Mlx.softmax(Mlx.array(3.0, type: :f64))) == 1.0
    assert Mlx.softmax(f64([])).shape == {0}
    assert_raise Mlx.Error, ~r/^Mlx.logsumexp: /, fn -> Mlx.logsumexp(f64([])) end
  end

  test "logarithms of running sums of exponentials" do
    rows = [
      [0.1, -800.0, 0.3, 5.5, -2.0],
      [-1000.0, 0.0, 1000.0, -3.0, 999.5],
      [:neg_infinity, :neg_infinity, 1.5, 1, -1]
    ]

    for reverse <- [false, true], inclusive <- [true, false] do
      expected = for row <- rows, sum <- running_sums(row, reverse, inclusive), do: sum
      options = [reverse: reverse, inclusive: inclusive]
      along_rows = Mlx.cumulative_logsumexp(f64(rows), [axis: -1] ++ options)
      assert along_rows.shape == {3, 5}
      assert_equal(along_rows, expected)
      assert_equal(Mlx.vmap(&Mlx.cumulative_logsumexp(&1, options)).(f64(rows)), expected)
      columns = Mlx.transpose(f64(rows))
      assert_equal(Mlx.transpose(Mlx.cumulative_logsumexp(columns, [axis: 0] ++ options)), expected)
    end

    flat = Mlx.cumulative_logsumexp(f64([[0.1, 0.2], [0.3, 0.4]]))
    assert flat.shape == {4}
    assert_equal(flat, running_sums([0.1, 0.2, 0.3, 0.4], false, true))
    assert Mlx.to_list(Mlx.cumulative_logsumexp(f64([2.5]))) == [2.5]
    assert Mlx.to_list(Mlx.cumulative_logsumexp(f64([2.5]), inclusive: false)) == [:neg_infinity]
    assert Mlx.to_list(Mlx.cumulative_logsumexp(f64([1.0, :nan, 2.0]))) |> tl() == [:nan, :nan]
    assert Mlx.cumulative_logsumexp(f64([])).shape == {0}
    assert_raise Mlx.Error, ~r/^Mlx.cumulative_logsumexp: /, fn -> Mlx.cumulative_logsumexp(f64(rows), axis: 2) end

    assert_raise ArgumentError, ~r/^Mlx.cumulative_logsumexp: /, fn ->
      Mlx.cumulative_logsumexp(f64(rows), axis: 1.0)
    end

    assert_raise ArgumentError, ~r/^Mlx.cumulative_logsumexp: /, fn ->
      Mlx.cumulative_logsumexp(f64(rows), reverse: 1)
    end
  end

  test "derivatives of logarithms of running sums" do
    row = [0.1, -80.0, 0.3, 5.5, -2.0]
    weights = [1.0, -2.0, 0.5, 3.0, 4.0]
    sums = running_sums(row, false, true)

    expected =
      for {x, j} <- Enum.with_index(row) do
        Enum.zip(weights, sums) |> Enum.drop(j) |> Enum.map(fn {w, sum} -> w * :math.exp(x - sum) end) |> Enum.sum()
      end

    gradient = Mlx.grad(&Mlx.sum(Mlx.multiply(Mlx.cumulative_logsumexp(&1), f64(weights)))).(f64(row))
    assert_close(gradient, &Enum.at(expected, &1), Enum.to_list(0..4), 2.0e-14)
  end

  defp running_sums(row, true, inclusive), do: row |> Enum.reverse() |> running_sums(false, inclusive) |> Enum.reverse()
  defp running_sums(row, false, false), do: [:neg_infinity | row |> running_sums(false, true) |> Enum.drop(-1)]
  defp running_sums(row, false, true), do: for(count <- 1..length(row), do: row |> Enum.take(count) |> sum())

  defp sum(row) do
    if Enum.all?(row, &(&1 == :neg_infinity)),
      do: :neg_infinity,
      else: greatest(row) + (row |> Enum.map(&exponential(&1, row)) |> Enum.sum() |> :math.log())
  end

  defp assert_equal(results, expected) do
    for {result, exact} <- Enum.zip(results |> Mlx.flatten() |> Mlx.to_list(), List.flatten(expected)) do
      assert result == exact or abs(result - exact) <= 4.0e-15 * abs(exact), "#{result}, not #{exact}"
    end
  end

  defp exponential(:neg_infinity, _row), do: 0.0
  defp exponential(x, row), do: :math.exp(x - greatest(row))

  defp greatest(row), do: row |> Enum.filter(&is_number/1) |> Enum.max()
end
