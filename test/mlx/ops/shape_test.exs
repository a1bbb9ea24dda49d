defmodule Mlx.Ops.ShapeTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  defp range(shape), do: Mlx.reshape(Mlx.arange(Tuple.product(shape)), shape)

  describe "compared with Python" do
    @describetag :oracle

    test "changes of shape" do
      x = range({2, 3, 4})

      for {actual, python} <- [
            {Mlx.reshape(x, {6, 4}), "x.reshape(6, 4)"},
            {Mlx.reshape(x, {-1, 2}), "x.reshape(-1, 2)"},
            {Mlx.reshape(x, {:auto}), "x.reshape(-1)"},
            {Mlx.flatten(x), "mx.flatten(x)"},
            {Mlx.flatten(x, axes: [1, 2]), "mx.flatten(x, 1, 2)"},
            {Mlx.flatten(x, axes: [-3, 1]), "mx.flatten(x, 0, 1)"},
            {Mlx.flatten(x, axes: 0..1), "mx.flatten(x, 0, 1)"},
            {Mlx.unflatten(x, -1, {2, :auto}), "mx.unflatten(x, -1, (2, -1))"},
            {Mlx.new_axis(x, -1), "mx.expand_dims(x, -1)"},
            {Mlx.new_axis(x, [0, 3]), "mx.expand_dims(x, [0, 3])"},
            {Mlx.squeeze(Mlx.new_axis(x, [0, 3])), "x"},
            {Mlx.squeeze(Mlx.new_axis(x, [0, 3]), axes: 3), "mx.expand_dims(x, 0)"},
            {Mlx.squeeze(Mlx.new_axis(x, [0, 3]), axes: [0, -2]), "x"},
            {Mlx.atleast_3d(x[[0, 0]]), "mx.atleast_3d(x[0, 0])"}
          ] do
        assert_oracle(actual, python, x: x)
      end
    end

    test "changes of order" do
      x = range({2, 3, 4})

      for {actual, python} <- [
            {Mlx.transpose(x), "mx.transpose(x)"},
            {Mlx.transpose(x, axes: [1, 2, 0]), "mx.transpose(x, (1, 2, 0))"},
            {Mlx.swap_axes(x, 0, -1), "mx.swapaxes(x, 0, -1)"},
            {Mlx.move_axis(x, 0, 1), "mx.moveaxis(x, 0, 1)"},
            {Mlx.reverse(x), "x[::-1, ::-1, ::-1]"},
            {Mlx.reverse(x, axes: 1), "x[:, ::-1]"},
            {Mlx.reverse(x, axes: [0, -1]), "x[::-1, :, ::-1]"},
            {Mlx.roll(x, 5), "mx.roll(x, 5)"},
            {Mlx.roll(x, 1, axes: 1), "mx.roll(x, 1, 1)"},
            {Mlx.roll(x, -1, axes: [0, 2]), "mx.roll(x, -1, (0, 2))"},
            {Mlx.roll(x, [1, 3], axes: [0, 2]), "mx.roll(x, (1, 3), (0, 2))"},
            {Mlx.contiguous(Mlx.transpose(x)), "mx.transpose(x)"},
            {Mlx.as_strided(x, {3, 2}, [4, 1], offset: 2), "mx.as_strided(x, (3, 2), (4, 1), 2)"},
            {Mlx.as_strided(x, {3}, [-1], offset: 5), "mx.as_strided(x, (3,), (-1,), 5)"},
            {Mlx.as_strided(x, {2, 3, 2}, nil, offset: 3), "mx.as_strided(x, (2, 3, 2), None, 3)"},
            {Mlx.as_strided(Mlx.transpose(x), {4, 6}, nil), "mx.as_strided(mx.transpose(x), (4, 6))"}
          ] do
        assert_oracle(actual, python, x: x)
      end
    end

    test "repetition and padding" do
      x = range({2, 3})

      for {actual, python} <- [
            {Mlx.broadcast(x, {4, 2, 3}), "mx.broadcast_to(x, (4, 2, 3))"},
            {Mlx.broadcast(5, {2}), "mx.broadcast_to(5, (2,))"},
            {Mlx.repeat(x, 2), "mx.repeat(x, 2)"},
            {Mlx.repeat(x, 3, axis: 0), "mx.repeat(x, 3, axis=0)"},
            {Mlx.tile(x, 2), "mx.tile(x, 2)"},
            {Mlx.tile(x, [2, 1, 2]), "mx.tile(x, (2, 1, 2))"},
            {Mlx.pad(x, 1), "mx.pad(x, 1)"},
            {Mlx.pad(x, {0, 2}, value: 7), "mx.pad(x, (0, 2), constant_values=7)"},
            {Mlx.pad(x, [{1, 0}, 2], mode: :edge), "mx.pad(x, [(1, 0), (2, 2)], mode='edge')"},
            {Mlx.pad(x, [0, {2, 2}], mode: :reflect), "mx.pad(x, [(0, 0), (2, 2)], mode='reflect')"},
            {Mlx.pad(x, [{1, 2}, 1], mode: :symmetric), "mx.pad(x, [(1, 2), (1, 1)], mode='symmetric')"}
          ] do
        assert_oracle(actual, python, x: x)
      end
    end

    test "padding keeps the type" do
      for type <- [:bool, :u8, :s32, :f16, :bf16, :f32, :c64] do
        x = Mlx.as_type(range({3}), type)
        assert_oracle(Mlx.pad(x, 1, value: 2), "mx.pad(x, 1, constant_values=2)", x: x)
      end
    end
  end

  test "broadcast_shapes" do
    assert Mlx.broadcast_shapes([]) == {}
    assert Mlx.broadcast_shapes([{2, 1}, {3}, {}]) == {2, 3}
    assert Mlx.broadcast_shapes([{1}, {0}]) == {0}
    assert_raise ArgumentError, ~r/\{2\}, \{3\} do not broadcast/, fn -> Mlx.broadcast_shapes([{2}, {3}]) end
    assert [%{shape: {2, 3}}, %{shape: {2, 3}}] = Mlx.broadcast_arrays([Mlx.zeros({2, 1}), Mlx.zeros({3})])
  end

  test "as_strided cannot leave the array" do
    x = range({6})
    assert Mlx.as_strided(x, {0, 5}, [100, 100]).shape == {0, 5}

    for {shape, strides, offset} <- [{{7}, [1], 0}, {{6}, [1], 1}, {{2}, [-1], 0}, {{3, 3}, [2, 1], 0}, {{1}, [1], 6}] do
      assert_raise ArgumentError, ~r/outside the 6 elements/, fn ->
        Mlx.as_strided(x, shape, strides, offset: offset)
      end
    end

    assert_raise ArgumentError, ~r/negative/, fn -> Mlx.as_strided(x, {2}, [1], offset: -1) end
    assert_raise ArgumentError, ~r/-2 in {-2} is not a size/, fn -> Mlx.as_strided(x, {-2}, [1]) end
    assert_raise ArgumentError, ~r/one stride/, fn -> Mlx.as_strided(x, {2, 2}, [1]) end
  end

  test "what does not fit raises" do
    x = range({2, 3})
    assert_raise Mlx.Error, ~r/reshape/, fn -> Mlx.reshape(x, {4}) end
    assert_raise Mlx.Error, fn -> Mlx.squeeze(x, axes: [0]) end
    assert_raise Mlx.Error, fn -> Mlx.broadcast(x, {4, 4}) end
    assert_raise Mlx.Error, fn -> Mlx.transpose(x, axes: [0, 0]) end
    assert_raise ArgumentError, ~r/neighbouring axes/, fn -> Mlx.flatten(Mlx.zeros({1, 1, 1}), axes: [0, 2]) end
    assert_raise ArgumentError, ~r/neighbouring axes/, fn -> Mlx.flatten(x, axes: [1, 2]) end
    assert_raise ArgumentError, ~r/neighbouring axes/, fn -> Mlx.flatten(x, axes: []) end
    assert_raise ArgumentError, ~r/expected 2 widths/, fn -> Mlx.pad(x, [1]) end
    assert_raise ArgumentError, ~r/not negative/, fn -> Mlx.pad(x, -1) end
    assert_raise ArgumentError, ~r/unknown mode/, fn -> Mlx.pad(x, 1, mode: :wrap) end
    assert_raise ArgumentError, ~r/Mlx.reshape: -3 in/, fn -> Mlx.reshape(x, {-3, -2}) end
    assert_raise ArgumentError, ~r/Mlx.reshape: 1.5 in/, fn -> Mlx.reshape(x, {1.5}) end
    assert_raise ArgumentError, ~r/beside a size of 0/, fn -> Mlx.unflatten(x, 0, {0, -1}) end
    assert_raise ArgumentError, ~r/as many shifts as axes/, fn -> Mlx.roll(x, [1, 2], axes: [0]) end
    assert_raise ArgumentError, ~r/unknown option :shift/, fn -> Mlx.roll(x, 1, shift: 1) end
  end

  test "as_strided of elements that are apart" do
    x = Mlx.at(Mlx.arange(6), 0..5//2)
    assert Mlx.to_list(Mlx.as_strided(x, {2, 2}, [1, 1])) == [[0, 2], [2, 4]]
  end

  test "a shape is a tuple, a list or a size, wherever one is taken" do
    x = Mlx.array([1, 2, 3, 4])

    for {function, shapes} <- [
          {&Mlx.zeros/1, [{4}, [4], 4]},
          {&Mlx.ones/1, [{2, 2}, [2, 2]]},
          {&Mlx.full(&1, 7), [{4}, [4], 4]},
          {&Mlx.iota/1, [{4}, [4], 4]},
          {&Mlx.from_binary(<<1, 2, 3, 4>>, &1, :u8), [{4}, [4], 4]},
          {&Mlx.reshape(x, &1), [{2, 2}, [2, 2], [-1, 2], {2, :auto}]},
          {&Mlx.reshape(x, &1), [{4}, [4], 4, -1, :auto, [-1]]},
          {&Mlx.unflatten(x, 0, &1), [{2, -1}, [2, :auto], [2, 2]]},
          {&Mlx.broadcast(1, &1), [{4}, [4], 4]},
          {&Mlx.as_strided(x, &1, nil), [{3}, [3], 3]},
          {&Mlx.Random.uniform(&1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.normal(&1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.bits(&1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.gumbel(&1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.laplace(&1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.randint(0, 9, shape: &1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.bernoulli(0.5, shape: &1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.truncated_normal(0, 1, shape: &1, key: Mlx.Random.key(0)), [{4}, [4], 4]},
          {&Mlx.Random.categorical(Mlx.zeros({3}), shape: &1, key: Mlx.Random.key(0)), [{4}, [4], 4]}
        ] do
      [first | others] = for shape <- shapes, array = function.(shape), do: {array.shape, Mlx.to_list(array)}
      assert Enum.all?(others, &(&1 == first))
    end

    assert Mlx.broadcast_shapes([[3, 1], {4}, 4]) == {3, 4}
    assert Mlx.reshape(5, []).shape == {}
  end

  test "what is no shape" do
    for {shape, message} <- [
          {1.5, "Mlx.zeros: expected a shape such as {2, 3}, got: 1.5"},
          {nil, "Mlx.zeros: expected a shape such as {2, 3}, got: nil"},
          {[1 | 2], "Mlx.zeros: expected a shape such as {2, 3}, got: [1 | 2]"},
          {{2, -1}, "Mlx.zeros: -1 in {2, -1} is not a size"},
          {-1, "Mlx.zeros: -1 in -1 is not a size"},
          {[2, "3"], "Mlx.zeros: \"3\" in [2, \"3\"] is not a size"},
          {[2, 0x80000000], "Mlx.zeros: the size 2147483648 is no integer of 32 bits"}
        ] do
      assert_raise ArgumentError, message, fn -> Mlx.zeros(shape) end
    end

    assert_raise ArgumentError, "Mlx.reshape: expected one size to find from the others, got: [-1, :auto]", fn ->
      Mlx.reshape(Mlx.zeros(4), [-1, :auto])
    end

    assert_raise ArgumentError, "Mlx.reshape: -2 in {-2} is not a size", fn -> Mlx.reshape(Mlx.zeros(4), {-2}) end
  end
end
