defmodule Mlx.Ops.CreationTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  @types [:bool, :u8, :u16, :u32, :u64, :s8, :s16, :s32, :s64, :f16, :bf16, :f32, :f64, :c64]

  defp python_type(type) do
    case Mlx.Type.class(type) do
      :bool -> "mx.bool_"
      :unsigned -> "mx.uint#{Mlx.Type.bits(type)}"
      :signed -> "mx.int#{Mlx.Type.bits(type)}"
      :float when type == :bf16 -> "mx.bfloat16"
      :float -> "mx.float#{Mlx.Type.bits(type)}"
      :complex -> "mx.complex64"
    end
  end

  describe "array/2" do
    test "finds the type that holds all elements" do
      for {term, type} <- [
            {true, :bool},
            {[true, 2], :s32},
            {[1, 2], :s32},
            {[1, -0x80000000], :s32},
            {[1, 0x80000000], :s64},
            {[-1, 2 ** 62], :s64},
            {[2 ** 63], :u64},
            {[1, 2.0], :f32},
            {[true, 2.0], :f32},
            {[], :f32},
            {[2 ** 63, 0.5], :f32},
            {:nan, :f32},
            {[1, {2, 3}], :c64}
          ] do
        assert Mlx.array(term).type == type, "#{inspect(term)} should be #{inspect(type)}"
      end
    end

    test "finds the shape of nested lists" do
      for {term, shape} <- [
            {7, {}},
            {[], {0}},
            {[[], []], {2, 0}},
            {[[[1], [2], [3]], [[4], [5], [6]]], {2, 3, 1}}
          ] do
        array = Mlx.array(term)
        assert array.shape == shape
        if shape != {}, do: assert(Mlx.to_list(array) == term)
      end
    end

    test "takes ranges and arrays" do
      assert Mlx.to_list(Mlx.array(1..7//2)) == [1, 3, 5, 7]
      array = Mlx.array([1, 2])
      assert Mlx.array(array) == array
      assert Mlx.array(array, type: :s32) == array
      assert Mlx.to_list(Mlx.array(array, type: :f16)) == [1.0, 2.0]
    end

    test "fractions that become integers or booleans lose no digit before" do
      assert Mlx.to_list(Mlx.array([16_777_217.0, -4_503_599_627_370_497.0], type: :s64)) ==
               [16_777_217, -4_503_599_627_370_497]

      assert Mlx.to_number(Mlx.array(4_294_967_295.0, type: :u32)) == 4_294_967_295
      assert Mlx.to_list(Mlx.array([1.0e-50, 0.0], type: :bool)) == [true, false]
    end

    @tag :oracle
    test "converts to every type as Python's array" do
      for type <- @types do
        python = python_type(type)
        assert_oracle(Mlx.array([0, 1, 2, 100], type: type), "mx.array([0, 1, 2, 100], dtype=#{python})")

        assert_oracle(
          Mlx.array([[0.1, 1.7], [2.5, 3.0]], type: type),
          "mx.array([[0.1, 1.7], [2.5, 3.0]], dtype=#{python})"
        )

        assert_oracle(Mlx.array([true, false], type: type), "mx.array([True, False], dtype=#{python})")
        assert_oracle(Mlx.array(3, type: type), "mx.array(3, dtype=#{python})")
      end

      assert_oracle(Mlx.array([300, -1], type: :u8), "mx.array([300, -1], dtype=mx.uint8)")
      assert_oracle(Mlx.array([1.0e300, -1.0e300, 1.0e-300]), "mx.array([1e300, -1e300, 1e-300])")
      assert_oracle(Mlx.array([65_520.0, 65_519.0], type: :f16), "mx.array([65520.0, 65519.0], dtype=mx.float16)")
      assert_oracle(Mlx.array([{1, -2.5}, 3]), "mx.array([1-2.5j, 3])")
    end

    test "keeps infinities and NaN, in every floating-point type" do
      for type <- [:f16, :bf16, :f32, :f64] do
        assert Mlx.to_list(Mlx.array([1.5, :nan, :infinity, :neg_infinity], type: type)) ==
                 [1.5, :nan, :infinity, :neg_infinity]
      end
    end

    test "f64 keeps what f32 cannot" do
      assert Mlx.to_list(Mlx.array([0.1, 2 ** 60 + 2 ** 10], type: :f64)) == [0.1, (2 ** 60 + 2 ** 10) * 1.0]
      assert Mlx.to_list(Mlx.array([10 ** 400, -(10 ** 400)], type: :f64)) == [:infinity, :neg_infinity]
    end

    test "says where lists are ragged" do
      for {term, message} <- [
            {[[1, 2], [3]], "Mlx.array: the element at [1] has the shape {1}, those before it have {2}"},
            {[1, [2]], "Mlx.array: the element at [1] is a list, those before it are none"},
            {[[1], 2], "Mlx.array: the element at [1] is no list, those before it have the shape {1}"},
            {[[[1], [2]], [[3], [4, 5]]],
             "Mlx.array: the element at [1][1] has the shape {2}, those before it have {1}"},
            {[1 | 2], "Mlx.array: the list is improper"},
            {[[1], [2] | 3], "Mlx.array: the list is improper"}
          ] do
        assert_raise ArgumentError, message, fn -> Mlx.array(term) end
      end
    end

    test "says which element is no number" do
      for {term, where} <- [{"1", "got \"1\""}, {[1, :one], "got :one at [1]"}, {[[1, nil]], "got nil at [0][1]"}] do
        error = assert_raise ArgumentError, fn -> Mlx.array(term) end
        assert String.ends_with?(error.message, where)
      end
    end

    test "integers that no type holds" do
      assert_raise ArgumentError, "Mlx.array: the integer 18446744073709551616 does not fit in :u64", fn ->
        Mlx.array([2 ** 64])
      end

      assert_raise ArgumentError, "Mlx.array: the integer -1 does not fit in :u64", fn -> Mlx.array([-1, 2 ** 63]) end
      assert_raise ArgumentError, ~r/does not fit in :s64/, fn -> Mlx.array([-(2 ** 63) - 1]) end
    end

    test "a million elements take no more than a moment" do
      list = Enum.map(1..1_000_000, &(&1 / 3))
      times = for _ <- 1..3, do: :timer.tc(fn -> assert Mlx.array(list).shape == {1_000_000} end)
      assert times |> Enum.map(&elem(&1, 0)) |> Enum.min() < 2_000_000
    end
  end

  describe "from_binary/3" do
    test "is the inverse of to_binary/1 for every type" do
      for type <- @types do
        bytes = for _ <- 1..6, into: <<>>, do: <<1::native-size(Mlx.Type.bits(type))>>
        array = Mlx.from_binary(bytes, {2, 3}, type)
        assert {array.shape, array.type} == {{2, 3}, type}
        assert Mlx.to_binary(array) == bytes
      end
    end

    test "takes arrays without elements and without axes" do
      assert Mlx.from_binary(<<>>, {0, 3}, :f32) |> Mlx.to_list() == []
      assert Mlx.from_binary(<<5>>, {}, :u8) |> Mlx.to_number() == 5
    end

    test "counts the bytes" do
      assert_raise ArgumentError, "Mlx.from_binary: expected 8 bytes for :f32 of shape {2}, got 3", fn ->
        Mlx.from_binary(<<1, 2, 3>>, {2}, :f32)
      end
    end
  end

  describe "filled arrays" do
    @tag :oracle
    test "are those of Python" do
      for type <- @types, python = python_type(type) do
        assert_oracle(Mlx.zeros({2, 3}, type: type), "mx.zeros((2, 3), dtype=#{python})")
        assert_oracle(Mlx.ones({2, 3}, type: type), "mx.ones((2, 3), dtype=#{python})")
        # In Python the type of a value that is an array wins.
        assert_oracle(Mlx.full({2, 3}, 1.0, type: type), "mx.full((2, 3), mx.array(1.0, dtype=#{python}))")
        assert_oracle(Mlx.eye({3, 4}, k: -1, type: type), "mx.eye(3, 4, k=-1, dtype=#{python})")
        assert_oracle(Mlx.tri(3, 4, k: 1, type: type), "mx.tri(3, 4, 1, dtype=#{python})")
      end
    end

    @tag :oracle
    test "take their type from their value or their model" do
      x = Mlx.array([[1, 2]], type: :f16)
      assert_oracle(Mlx.full({2}, 1.5), "mx.full((2,), 1.5)")
      assert_oracle(Mlx.full({2}, true), "mx.full((2,), True)")
      assert_oracle(Mlx.full({2}, 0.1, type: :f64), "mx.full((2,), 0.1, dtype=mx.float64)")
      assert_oracle(Mlx.full({3, 2}, x), "mx.full((3, 2), x)", x: x)
      assert_oracle(Mlx.zeros_like(x), "mx.zeros_like(x)", x: x)
      assert_oracle(Mlx.ones_like(x), "mx.ones_like(x)", x: x)
      assert Mlx.zeros_like(x, type: :s8).type == :s8
      assert Mlx.ones_like(x, type: :s8).type == :s8
      assert Mlx.full_like(x, 3).type == :f16
      assert Mlx.to_list(Mlx.full_like(x, 3.5, type: {:f, 32})) == [[3.5, 3.5]]
      assert Mlx.to_list(Mlx.full_like(x, 0.1, type: :f64)) == [[0.1, 0.1]]
    end

    test "refuse a shape that is none" do
      for bad <- [{:a}, {1.5}, {2 ** 31}, "1", -3, {-1}] do
        assert_raise ArgumentError, ~r/^Mlx.zeros: /, fn -> Mlx.zeros(bad) end
      end
    end
  end

  describe "arange/4" do
    @tag :oracle
    test "counts as Python's arange" do
      assert_oracle(Mlx.arange(5), "mx.arange(5)")
      assert_oracle(Mlx.arange(2, 5), "mx.arange(2, 5)")
      assert_oracle(Mlx.arange(10, 2, -3), "mx.arange(10, 2, -3)")
      assert_oracle(Mlx.arange(0, 1, 0.1), "mx.arange(0, 1, 0.1)")
      assert_oracle(Mlx.arange(2.5), "mx.arange(2.5)")
      assert_oracle(Mlx.arange(5, 2), "mx.arange(5, 2)")
      assert_oracle(Mlx.arange(10, 0, :infinity), "mx.arange(10, 0, mx.inf)")
      assert_oracle(Mlx.arange(2 ** 40, 2 ** 40 + 3), "mx.arange(2**40, 2**40 + 3)")
      assert_oracle(Mlx.arange(4, type: :bf16), "mx.arange(4, dtype=mx.bfloat16)")
      assert_oracle(Mlx.arange(1, 4, type: :u8), "mx.arange(1, 4, dtype=mx.uint8)")
      assert_oracle(Mlx.arange(1, 9, 2, type: :f16), "mx.arange(1, 9, 2, dtype=mx.float16)")
    end

    test "takes numbers only" do
      assert_raise ArgumentError, ~s(Mlx.arange: expected numbers, got: 0, "5", 1), fn -> Mlx.arange("5") end
    end

    test "a step of 0 is an error" do
      assert_raise Mlx.Error, ~r/^Mlx.arange: /, fn -> Mlx.arange(0, 5, 0) end
      assert_raise Mlx.Error, ~r/^Mlx.arange: /, fn -> Mlx.arange(0, :nan) end
    end
  end

  describe "iota/2" do
    test "counts over all elements or along an axis" do
      assert Mlx.to_list(Mlx.iota({2, 2}, type: :u8)) == [[0, 1], [2, 3]]
      assert Mlx.to_list(Mlx.iota({2, 3}, axis: -1)) == [[0, 1, 2], [0, 1, 2]]
      assert Mlx.to_number(Mlx.iota({})) == 0
      assert Mlx.iota({0, 3}, axis: 1).shape == {0, 3}
    end

    test "refuses an axis that is not there" do
      for axis <- [2, -3, :rows] do
        assert_raise ArgumentError, "Mlx.iota: expected :axis to be one of 2 axes, got: #{inspect(axis)}", fn ->
          Mlx.iota({2, 3}, axis: axis)
        end
      end
    end
  end

  @tag :oracle
  test "linspace/3 is Python's linspace" do
    assert_oracle(Mlx.linspace(0, 1), "mx.linspace(0, 1)")
    assert_oracle(Mlx.linspace(-1.5, 3, n: 7), "mx.linspace(-1.5, 3, 7)")
    assert_oracle(Mlx.linspace(0, 10, n: 5, endpoint: false), "mx.linspace(0, 10, 5, endpoint=False)")
    assert_oracle(Mlx.linspace(0, 10, n: 5, type: :s32), "mx.linspace(0, 10, 5, dtype=mx.int32)")
  end

  @tag :oracle
  test "triangles and diagonals are those of Python" do
    x = Mlx.iota({2, 3, 4}, type: :f32)

    for k <- [-1, 0, 2] do
      assert_oracle(Mlx.tril(x, k: k), "mx.tril(x, k=#{k})", x: x)
      assert_oracle(Mlx.triu(x, k: k), "mx.triu(x, k=#{k})", x: x)
      assert_oracle(Mlx.diag(x[0], k: k), "mx.diag(x[0], k=#{k})", x: x)
      assert_oracle(Mlx.diag(x[[0, 0]], k: k), "mx.diag(x[0, 0], k=#{k})", x: x)
      assert_oracle(Mlx.diagonal(x, offset: k, axes: [2, 1]), "mx.diagonal(x, #{k}, 2, 1)", x: x)
    end
  end

  test "diagonals of 64 bits, which no GPU scatters, are those of 32" do
    for {wide, narrow} <- [s64: :s32, u64: :u32, c64: :f32], k <- [-5, -1, 0, 2] do
      line = Mlx.array([3, 1, 2], type: narrow)
      wide_line = Mlx.as_type(line, wide)
      assert Mlx.to_list(Mlx.diag(wide_line, k: k)) == Mlx.to_list(Mlx.as_type(Mlx.diag(line, k: k), wide))
      eye = Mlx.eye({3, 4}, k: k, type: wide)
      assert {eye.type, Mlx.to_list(eye)} == {wide, Mlx.to_list(Mlx.as_type(Mlx.eye({3, 4}, k: k), wide))}
    end

    lines = Mlx.array([[1, 2], [3, 4]], type: :s64)
    assert Mlx.to_list(Mlx.vmap(&Mlx.diag/1).(lines)) == [[[1, 0], [0, 2]], [[3, 0], [0, 4]]]
    assert Mlx.diag(Mlx.array([], type: :s64)).shape == {0, 0}
  end

  test "diagonal/2 needs two axes" do
    assert_raise ArgumentError, "Mlx.diagonal: expected :axes to be a list of two axes, got: [0]", fn ->
      Mlx.diagonal(Mlx.eye(2), axes: [0])
    end
  end

  @tag :oracle
  test "windows are those of Python" do
    for name <- [:bartlett, :blackman, :hamming, :hanning], n <- [0, 1, 2, 10] do
      assert_oracle(apply(Mlx, name, [n]), "mx.#{name}(#{n})")
    end
  end

  test "unknown types" do
    assert_raise ArgumentError, ~r/expected a type such as :f32 \(see Mlx.Type\), got: :float/, fn ->
      Mlx.zeros({1}, type: :float)
    end
  end
end
