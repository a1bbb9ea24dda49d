defmodule Mlx.Values.EvaluationTest do
  use ExUnit.Case, async: true

  defmodule Pair do
    defstruct [:left, :right]
  end

  describe "eval/1 and async_eval/1" do
    test "compute every array of a container and return it" do
      for evaluate <- [&Mlx.eval/1, &Mlx.async_eval/1] do
        fresh = fn -> Mlx.add(Mlx.array([1, 2]), 1) end
        arrays = for _ <- 1..5, do: fresh.()
        [a, b, c, d, e] = arrays
        container = [a, {b, :other}, %{c: [c], n: 1}, %Pair{left: d, right: [x: e]}]
        assert evaluate.(container) == container
        assert Mlx.to_list(e) == [2, 3]
        Mlx.eval(arrays)
        assert Enum.all?(arrays, &Mlx.Native.is_available/1)
      end
    end

    test "take containers without arrays" do
      assert Mlx.eval([]) == []
      assert Mlx.eval(%{a: 1}) == %{a: 1}
    end

    test "an error of the computation is raised where the value is read" do
      # A singular matrix is found out when it is inverted.
      singular = Mlx.Native.linalg_inv(Mlx.zeros({2, 2}), Mlx.Stream.default(:cpu))
      assert_raise Mlx.Error, fn -> Mlx.eval(singular) end
      assert inspect(singular) =~ "f32[2][2]"
    end

    test "what is not computed from a failure can still be read" do
      matrix = Mlx.add(Mlx.zeros({2, 2}), 1)
      inverse = Mlx.Linalg.invert(matrix)
      beside = Mlx.add(matrix, 1)
      after_failure = Mlx.add(inverse, 1)
      assert_raise Mlx.Error, fn -> Mlx.eval(inverse) end
      assert Mlx.to_list(matrix) == [[1.0, 1.0], [1.0, 1.0]]
      assert Mlx.to_list(beside) == [[2.0, 2.0], [2.0, 2.0]]
      assert_raise Mlx.Error, fn -> Mlx.to_list(inverse) end
      assert_raise Mlx.Error, fn -> Mlx.to_list(after_failure) end
      assert_raise Mlx.Error, fn -> Mlx.to_list(Mlx.add(inverse, matrix)) end
    end

    test "what an operation that MLX cannot schedule was given can still be read" do
      ones = Mlx.add(Mlx.zeros({2, 64}), 1)
      {weights, scales} = Mlx.quantize(ones, mode: :mxfp8)
      beside = Mlx.add(ones, 1)
      # There is none for two rows and more on a CPU.
      product = Mlx.qqmm(ones, weights, mode: :mxfp8, scales: scales, stream: :cpu)
      after_failure = Mlx.add(product, 1)
      for _ <- 1..2, do: assert_raise(Mlx.Error, ~r/NYI/, fn -> Mlx.eval([beside, product]) end)
      assert Mlx.to_list(Mlx.dequantize(weights, scales, nil, mode: :mxfp8)) == Mlx.to_list(ones)
      assert Mlx.to_list(beside) == List.duplicate(List.duplicate(2.0, 64), 2)
      assert_raise Mlx.Error, ~r/NYI/, fn -> Mlx.to_list(after_failure) end

      inverse = Mlx.Linalg.invert(Mlx.add(Mlx.zeros({2, 2}), 1))
      both = [Mlx.multiply(inverse, 1), Mlx.slice(product, [0, 0], [2, 2])]
      assert_raise Mlx.Error, fn -> Mlx.eval(both) end
      for array <- [inverse | both], do: assert_raise(Mlx.Error, fn -> Mlx.to_list(array) end)
    end
  end

  describe "reading values" do
    test "to_list/1 nests as the shape" do
      assert Mlx.to_list(Mlx.iota({2, 1, 3})) == [[[0, 1, 2]], [[3, 4, 5]]]
      assert Mlx.to_list(Mlx.zeros({2, 0})) == [[], []]
      assert Mlx.to_list(Mlx.zeros({0, 2})) == []
    end

    test "rows that are not next to each other in memory" do
      assert Mlx.to_list(Mlx.transpose(Mlx.iota({2, 3}))) == [[0, 3], [1, 4], [2, 5]]
      assert Mlx.to_flat_list(Mlx.transpose(Mlx.iota({2, 3}))) == [0, 3, 1, 4, 2, 5]
      assert Mlx.to_binary(Mlx.transpose(Mlx.array([[1, 2], [3, 4]], type: :u8))) == <<1, 3, 2, 4>>
    end

    test "every type" do
      for {type, list} <- [
            bool: [true, false],
            u8: [0, 255],
            u16: [0, 65_535],
            u32: [0, 4_294_967_295],
            u64: [0, 18_446_744_073_709_551_615],
            s8: [-128, 127],
            s16: [-32_768, 32_767],
            s32: [-2_147_483_648, 2_147_483_647],
            s64: [-9_223_372_036_854_775_808, 9_223_372_036_854_775_807],
            f16: [-1.5, 65_504.0],
            bf16: [-1.5, 3.0],
            f32: [-1.5, 0.25],
            f64: [-1.5, 0.1],
            c64: [{1.0, -2.0}, {0.0, 0.5}]
          ] do
        array = Mlx.array(list, type: type)
        assert Mlx.to_list(array) == list
        # No GPU has f64.
        assert Mlx.with_device(:cpu, fn -> Mlx.to_number(array[1]) end) == List.last(list)
      end
    end

    test "to_list/1 of a single number" do
      assert_raise ArgumentError, ~r/Mlx.to_list: expected an array with at least one axis/, fn ->
        Mlx.to_list(Mlx.array(1))
      end

      assert Mlx.to_flat_list(Mlx.array(1)) == [1]
    end

    test "to_number/1 takes one element of any shape" do
      assert Mlx.to_number(Mlx.array([[1.5]])) == 1.5
      assert Mlx.to_number(Mlx.array(:nan)) == :nan
      assert Mlx.to_number(Mlx.array(:neg_infinity)) == :neg_infinity

      assert_raise ArgumentError, "Mlx.to_number: expected an array of one element, got the shape {2}", fn ->
        Mlx.to_number(Mlx.array([1, 2]))
      end

      assert_raise ArgumentError, ~r/got the shape \{0\}/, fn -> Mlx.to_number(Mlx.zeros({0})) end
    end

    test "a million elements take no more than a moment" do
      array = Mlx.eval(Mlx.arange(1_000_000, type: :f32))
      # A list of so many numbers in Elixir, on the same machine, which may be busy.
      reference = fn -> Enum.map(1..1_000_000, &(&1 / 1)) end
      least = fn fun -> Enum.min(for _ <- 1..3, do: fun |> :timer.tc() |> elem(0)) end
      assert least.(fn -> assert length(Mlx.to_list(array)) == 1_000_000 end) < 50 * least.(reference)
    end
  end

  describe "deallocate/1" do
    test "makes the array unusable and leaves others alone" do
      array = Mlx.array([1, 2])
      sum = Mlx.add(array, 1)
      assert Mlx.deallocate(array) == :ok
      assert_raise ArgumentError, ~r/deallocated/, fn -> Mlx.to_list(array) end
      assert_raise ArgumentError, ~r/^Mlx.add: .*deallocated/, fn -> Mlx.add(array, 1) end
      assert Mlx.to_list(sum) == [2, 3]
      assert Mlx.deallocate(array) == :ok
    end
  end

  test "axis_size/2 refuses an axis that is not there" do
    assert Mlx.axis_size(Mlx.zeros({2, 3}), 0) == 2

    for axis <- [2, -3] do
      assert_raise ArgumentError, "Mlx.axis_size: the shape {2, 3} has no axis #{axis}", fn ->
        Mlx.axis_size(Mlx.zeros({2, 3}), axis)
      end
    end
  end

  test "the sizes of an array without axes" do
    array = Mlx.array(1.5)
    assert {Mlx.shape(array), Mlx.rank(array), Mlx.size(array), Mlx.byte_size(array)} == {{}, 0, 1, 4}
  end
end
