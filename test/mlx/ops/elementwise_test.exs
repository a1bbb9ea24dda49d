defmodule Mlx.Ops.ElementwiseTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle
  alias Mlx.Samples

  @types [:bool, :u8, :u32, :s8, :s32, :s64, :f16, :bf16, :f32, :f64, :c64]

  @unary [
    abs: "abs",
    negate: "negative",
    positive: "positive",
    sign: "sign",
    square: "square",
    sqrt: "sqrt",
    rsqrt: "rsqrt",
    reciprocal: "reciprocal",
    exp: "exp",
    expm1: "expm1",
    log: "log",
    log1p: "log1p",
    log2: "log2",
    log10: "log10",
    sin: "sin",
    cos: "cos",
    tan: "tan",
    asin: "arcsin",
    acos: "arccos",
    atan: "arctan",
    sinh: "sinh",
    cosh: "cosh",
    tanh: "tanh",
    asinh: "arcsinh",
    acosh: "arccosh",
    atanh: "arctanh",
    degrees: "degrees",
    radians: "radians",
    sigmoid: "sigmoid",
    erf: "erf",
    erf_inv: "erfinv",
    floor: "floor",
    ceil: "ceil",
    trunc: "trunc",
    round: "round",
    conjugate: "conjugate",
    real: "real",
    imag: "imag",
    logical_not: "logical_not",
    bitwise_not: "bitwise_invert",
    is_nan: "isnan",
    is_infinity: "isinf",
    is_positive_infinity: "isposinf",
    is_negative_infinity: "isneginf",
    is_finite: "isfinite",
    nan_to_num: "nan_to_num",
    stop_gradient: "stop_gradient"
  ]

  @binary [
    add: "add",
    subtract: "subtract",
    multiply: "multiply",
    divide: "divide",
    floor_divide: "floor_divide",
    remainder: "remainder",
    divmod: "divmod",
    pow: "power",
    max: "maximum",
    min: "minimum",
    atan2: "arctan2",
    logaddexp: "logaddexp",
    equal: "equal",
    not_equal: "not_equal",
    greater: "greater",
    greater_equal: "greater_equal",
    less: "less",
    less_equal: "less_equal",
    is_close: "isclose",
    all_close: "allclose",
    array_equal: "array_equal",
    logical_and: "logical_and",
    logical_or: "logical_or",
    bitwise_and: "bitwise_and",
    bitwise_or: "bitwise_or",
    bitwise_xor: "bitwise_xor",
    left_shift: "left_shift",
    right_shift: "right_shift"
  ]

  for {name, python} <- @unary do
    @tag :oracle
    test "#{name}/1 is Python's #{python} for every type" do
      for type <- right_types(unquote(python), @types) do
        x = Samples.array({3, 11}, type, special: true)
        assert_oracle_or_raise(fn -> Mlx.unquote(name)(x) end, "mx.#{unquote(python)}(x)", x: x)
      end
    end
  end

  for {name, python} <- @binary do
    @tag :oracle
    test "#{name}/2 is Python's #{python} for every type, and broadcasts" do
      for type <- right_types(unquote(python), @types) do
        a = Samples.array({3, 1, 7}, type, special: true)
        b = Samples.array({2, 1}, type, positive: true, seed: 1)
        assert_oracle_or_raise(fn -> Mlx.unquote(name)(a, b) end, "mx.#{unquote(python)}(a, b)", a: a, b: b)
      end
    end

    @tag :oracle
    test "#{name}/2 promotes types as Python's #{python}" do
      types = right_types(unquote(python), @types)

      for type_a <- types, type_b <- types, type_a != type_b do
        a = Samples.array({4}, type_a, positive: true)
        b = Samples.array({4}, type_b, positive: true, seed: 1)
        assert_oracle_or_raise(fn -> Mlx.unquote(name)(a, b) end, "mx.#{unquote(python)}(a, b)", a: a, b: b)
      end
    end
  end

  # Python takes no numbers for these.
  @arrays_only [:all_close, :array_equal, :is_close, :atan2]

  for {name, python} <- @binary, name not in @arrays_only do
    @tag :oracle
    test "#{name}/2 takes numbers as Python's #{python}" do
      for type <- right_types(unquote(python), @types),
          {number, text} <- [{2, "2"}, {1.5, "1.5"}, {true, "True"}],
          not wrong_in_python?(unquote(name), type, number) do
        x = Samples.array({5}, type, positive: true)
        assert_oracle_or_raise(fn -> Mlx.unquote(name)(x, number) end, "mx.#{unquote(python)}(x, #{text})", x: x)

        assert_oracle_or_raise(
          fn -> Mlx.unquote(name)(number, Mlx.max(x, 1)) end,
          "mx.#{unquote(python)}(#{text}, mx.maximum(x, 1))",
          x: x
        )
      end
    end
  end

  test "numbers beside arrays are weakly typed where Python takes none" do
    x = Mlx.array([1.0, 2.0], type: :bf16)
    assert Mlx.atan2(x, 2).type == :bf16
    assert Mlx.to_list(Mlx.is_close(x, 2)) == [false, true]
    assert Mlx.to_number(Mlx.all_close(x, Mlx.array([1, 2])))
    refute Mlx.to_number(Mlx.all_close(1, x))
  end

  # MLX computes `a ^ b ^ b` for booleans in memory that it reuses.
  defp wrong_in_python?(name, type, number), do: name == :bitwise_xor and type == :bool and is_boolean(number)

  test "numbers that are used again and again keep their sign, their kind and the type that they take" do
    x = Mlx.array([1.0, 2.0])

    for _ <- 1..3 do
      assert Mlx.to_list(Mlx.divide(x, 0.0)) == [:infinity, :infinity]
      assert Mlx.to_list(Mlx.divide(x, -0.0)) == [:neg_infinity, :neg_infinity]
      assert Mlx.to_list(Mlx.divide(x, :nan)) == [:nan, :nan]

      for {number, type, expected} <- [{1, :u8, :u8}, {1.0, :u8, :f32}, {1, :f16, :f16}, {1.0, :f16, :f16}] do
        assert Mlx.add(Mlx.ones({2}, type: type), number).type == expected
      end

      assert Mlx.add(Mlx.array(true), true).type == :bool
      assert Mlx.to_number(Mlx.add(Mlx.add(0.0, 1.5), Mlx.add(1.5, 1.5))) == 4.5
    end
  end

  test "booleans are xored also where MLX could reuse their memory" do
    for n <- [1, 5, 40] do
      a = Samples.array({n}, :bool)
      assert Mlx.to_list(Mlx.bitwise_xor(Mlx.logical_not(a), true)) == Mlx.to_list(a)
    end
  end

  test "an integer beside an array of a type that does not hold it" do
    for {type, number} <- [u8: 256, u8: -1, s8: 128, u16: 65_536, s16: -32_769, u32: -1, s32: 2 ** 31] do
      x = Mlx.array([1], type: type)
      assert_raise ArgumentError, ~r/^Mlx.add: an integer does not fit/, fn -> Mlx.add(x, number) end
    end

    assert Mlx.to_list(Mlx.add(Mlx.array([1], type: :s64), 2 ** 40)) == [2 ** 40 + 1]
  end

  describe "select/3" do
    @tag :oracle
    test "chooses as Python's where, with numbers and broadcasting" do
      for type <- @types do
        x = Samples.array({3, 1}, type)
        y = Samples.array({4}, type, seed: 1)
        condition = Samples.array({3, 4}, :bool)
        assert_oracle(Mlx.select(condition, x, y), "mx.where(c, x, y)", c: condition, x: x, y: y)
        assert_oracle(Mlx.select(condition, x, 2), "mx.where(c, x, 2)", c: condition, x: x)
        assert_oracle(Mlx.select(condition, 1.5, y), "mx.where(c, 1.5, y)", c: condition, y: y)
      end
    end
  end

  describe "clip/3" do
    @tag :oracle
    test "bounds as Python's clip" do
      for type <- @types -- [:c64, :bool] do
        x = Samples.array({9}, type)
        assert_oracle(Mlx.clip(x, 1, 5), "mx.clip(x, 1, 5)", x: x)
        assert_oracle(Mlx.clip(x, nil, 5), "mx.clip(x, None, 5)", x: x)
        assert_oracle(Mlx.clip(x, Mlx.array([[1], [2]]), nil), "mx.clip(x, mx.array([[1], [2]]), None)", x: x)
      end
    end

    test "needs a bound" do
      assert_raise ArgumentError, ~r/Mlx.clip: expected a lower or an upper bound/, fn -> Mlx.clip(1, nil, nil) end
    end
  end

  describe "nan_to_num/2" do
    @tag :oracle
    test "takes the three replacements" do
      x = Samples.array({9}, :f32, special: true)

      assert_oracle(
        Mlx.nan_to_num(x, nan: 1, infinity: 2.5, neg_infinity: -3),
        "mx.nan_to_num(x, nan=1, posinf=2.5, neginf=-3)",
        x: x
      )
    end
  end

  describe "round/2" do
    @tag :oracle
    test "rounds to decimals as Python's round" do
      x = Samples.array({30}, :f32)

      for decimals <- [-1, 0, 1, 3] do
        assert_oracle(Mlx.round(x, decimals: decimals), "mx.round(x, decimals=#{decimals})", x: x)
      end
    end
  end

  describe "comparisons with a tolerance" do
    test "NaN equals NaN on request" do
      x = Mlx.array([1.0, :nan])
      assert Mlx.to_list(Mlx.is_close(x, x)) == [true, false]
      assert Mlx.to_list(Mlx.is_close(x, x, equal_nan: true)) == [true, true]
      refute Mlx.to_number(Mlx.all_close(x, x))
      assert Mlx.to_number(Mlx.all_close(x, x, equal_nan: true))
      refute Mlx.to_number(Mlx.array_equal(x, x))
      assert Mlx.to_number(Mlx.array_equal(x, x, equal_nan: true))
    end

    test "the tolerances are options" do
      assert Mlx.to_number(Mlx.all_close(1.0, 1.1, rtol: 0.2))
      assert Mlx.to_number(Mlx.all_close(1.0, 1.1, rtol: 0, atol: 0.2))
      refute Mlx.to_number(Mlx.all_close(1.0, 1.1, rtol: 0, atol: 0.05))
    end

    test "arrays of different shapes are not equal" do
      refute Mlx.to_number(Mlx.array_equal(Mlx.array([1, 2]), Mlx.array([1])))
    end
  end

  describe "as_type/2" do
    @tag :oracle
    test "converts as Python's astype" do
      for from <- @types, to <- @types, not (from == :c64 and to == :bool) do
        x = Samples.array({9}, from, positive: true)
        assert_oracle(Mlx.as_type(x, to), "x.astype(y.dtype)", x: x, y: Mlx.zeros({1}, type: to))
      end
    end

    test "takes Nx's types and leaves an array of the type alone" do
      x = Mlx.array([1, 2])
      assert Mlx.as_type(x, {:f, 16}).type == :f16
      assert Mlx.as_type(x, :s32) == x
      assert_raise ArgumentError, ~r/expected a type such as :f32/, fn -> Mlx.as_type(x, :f31) end
    end
  end

  describe "bitcast/2" do
    @tag :oracle
    test "views the bytes as Python's view" do
      for from <- @types, to <- @types do
        x = Samples.array({2, 8}, from)
        y = Mlx.zeros({1}, type: to)
        assert_oracle_or_raise(fn -> Mlx.bitcast(x, to) end, "x.view(y.dtype)", x: x, y: y)
      end
    end
  end

  describe "integer division by zero" do
    test "does not stop the program" do
      for type <- [:s8, :s32, :s64, :u8, :u32, :u64] do
        a = Mlx.array([5, 0, 7], type: type)
        assert Mlx.to_list(Mlx.floor_divide(a, 0)) == [0, 0, 0]
        assert Mlx.to_list(Mlx.remainder(a, 0)) == [5, 0, 7]
        {quotient, remainder} = Mlx.divmod(a, 0)
        assert {Mlx.to_list(quotient), Mlx.to_list(remainder)} == {[0, 0, 0], [5, 0, 7]}
      end
    end

    test "the least integer divided by -1 does not stop the program" do
      least = Mlx.array([-0x80000000])
      assert Mlx.to_list(Mlx.floor_divide(least, -1)) == [-0x80000000]
      assert Mlx.to_list(Mlx.remainder(least, -1)) == [0]
    end
  end

  describe "errors" do
    test "shapes that do not fit are named, with the function" do
      error = assert_raise Mlx.Error, fn -> Mlx.add(Mlx.zeros({2}), Mlx.zeros({3})) end
      assert error.message =~ ~r/^Mlx\.add: .*\(2\).*\(3\)/s
      refute error.message =~ "/"
    end

    test "an operand that is no array or number" do
      for bad <- ["1", :one, [1], %{}, {:a, 2}] do
        assert_raise ArgumentError, ~r/^Mlx\.add: /, fn -> Mlx.add(bad, 1) end
        assert_raise ArgumentError, ~r/^Mlx\.exp: /, fn -> Mlx.exp(bad) end
      end
    end

    test "functions are called by their names in Mlx" do
      assert_raise ArgumentError, ~r/^Mlx\.negate: /, fn -> Mlx.negate("1") end
      assert_raise ArgumentError, ~r/^Mlx\.asin: /, fn -> Mlx.asin("1") end
      assert_raise ArgumentError, ~r/^Mlx\.pow: /, fn -> Mlx.pow("1", 2) end
      assert_raise ArgumentError, ~r/^Mlx\.max: /, fn -> Mlx.max("1", 2) end
      assert_raise ArgumentError, ~r/^Mlx\.select: /, fn -> Mlx.select("1", 2, 3) end
      assert_raise ArgumentError, ~r/^Mlx\.bitcast: /, fn -> Mlx.bitcast("1", :u8) end
    end

    test "unknown options" do
      assert_raise ArgumentError, "Mlx.add: unknown option :axis, expected one of :stream", fn ->
        Mlx.add(1, 2, axis: 0)
      end

      assert_raise ArgumentError, ~r/^Mlx.add: expected options to be a keyword list, got: \[1\]/, fn ->
        Mlx.add(1, 2, [1])
      end
    end
  end

  test "logical operations take numbers that do not fit the type of the array" do
    bytes = Mlx.array([0, 1], type: :u8)
    assert Mlx.to_list(Mlx.logical_and(bytes, 256)) == [false, true]
    assert Mlx.to_list(Mlx.logical_or(bytes, -1)) == [true, true]
    assert Mlx.to_list(Mlx.logical_xor(Mlx.array([0.0, 1.0], type: :f16), 1.0e-30)) == [true, false]
  end
end
