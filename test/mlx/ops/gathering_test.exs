defmodule Mlx.Ops.GatheringTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  @x for a <- 0..3, do: for(b <- 0..4, do: a * 5 + b)

  describe "compared with Python" do
    @describetag :oracle

    test "take" do
      x = Mlx.array(@x)

      for axis <- [0, 1, -1], indices <- [Mlx.array(2), Mlx.array([0, 3]), Mlx.array([[1, -1], [0, 2]], type: :s64)] do
        assert_oracle(Mlx.take(x, indices, axis: axis), "mx.take(x, i, axis=#{axis})", x: x, i: indices)
      end

      assert_oracle(Mlx.take(x, Mlx.array([7, 3]), axis: nil), "mx.take(x, i)", x: x, i: Mlx.array([7, 3]))
      assert_oracle(Mlx.take(x, [1, -1]), "mx.take(x, mx.array([1, -1]), axis=0)", x: x)
    end

    test "take_along_axis, put_along_axis and add_along_axis" do
      x = Mlx.array([[3, 1, 2], [4, 6, 5]])

      for axis <- [0, 1] do
        order = Mlx.argsort(x, axis: axis)

        assert_oracle(Mlx.take_along_axis(x, order, axis: axis), "mx.take_along_axis(x, i, axis=#{axis})",
          x: x,
          i: order
        )

        put = "mx.put_along_axis(x, i, v, axis=#{axis})"
        assert_oracle(Mlx.put_along_axis(x, order, x, axis: axis), put, x: x, i: order, v: x)
      end

      places = Mlx.array([5, 0, -2])
      values = Mlx.array([7, 8, 9])
      assert_oracle(Mlx.take_along_axis(x, places, axis: nil), "mx.take_along_axis(x, i, axis=None)", x: x, i: places)
      put = "mx.put_along_axis(x, i, v, axis=None)"
      assert_oracle(Mlx.put_along_axis(x, places, values, axis: nil), put, x: x, i: places, v: values)
      assert [[11, 1, 2], [4, 15, 12]] = Mlx.to_list(Mlx.add_along_axis(x, places, values, axis: nil))

      none = Mlx.array([])
      assert Mlx.take(x, none).shape == {0, 3}
      assert_oracle(Mlx.put_along_axis(none, none, none, axis: nil), "mx.put_along_axis(x, x, x, axis=None)", x: none)

      assert [[3, 1, 9], [4, 6, 8]] =
               Mlx.to_list(Mlx.add_along_axis(x, Mlx.array([[2, 2], [2, 0]]), Mlx.array([[3, 4], [3, 0]]), axis: 1))
    end

    test "slices with starts that are only known later" do
      x = Mlx.array(@x)
      start = Mlx.array([1, 2])
      dynamic = Mlx.slice(x, [start[0], start[1]], [2, 3])
      assert_oracle(dynamic, "mx.slice(x, s, (0, 1), (2, 3))", x: x, s: start)
      values = Mlx.array([[100, 200]])
      updated = Mlx.put_slice(x, [start[0], start[1]], values)
      assert_oracle(updated, "mx.slice_update(x, v, s, (0, 1))", x: x, v: values, s: start)
    end
  end

  test "slice with known starts" do
    x = Mlx.array(@x)
    assert [[6, 7], [11, 12]] = Mlx.to_list(Mlx.slice(x, [1, 1], [2, 2]))
    assert [[0, 2, 4]] = Mlx.to_list(Mlx.slice(x, [0, 0], [1, 5], strides: [1, 2]))
    assert [[0, 3], [15, 18]] = Mlx.to_list(Mlx.slice(x, [0, 0], [4, 5], strides: 3))
    assert [[17, 19]] = Mlx.to_list(Mlx.slice(x, [Mlx.array(3), 2], [1, 3], strides: [1, 2]))
  end

  test "dynamic starts are clamped so that the block fits" do
    x = Mlx.array([1, 2, 3, 4])
    assert [3, 4] = Mlx.to_list(Mlx.slice(x, [Mlx.array(100)], [2]))
    assert [1, 2] = Mlx.to_list(Mlx.slice(x, [Mlx.array(-5)], [2]))
    assert [1, 2, 8, 9] = Mlx.to_list(Mlx.put_slice(x, [Mlx.array(3)], Mlx.array([8, 9])))
  end

  test "put_slice takes the type of the array" do
    assert %{type: :f32} = y = Mlx.put_slice(Mlx.zeros({3}), [1], Mlx.array([7]))
    assert Mlx.to_list(y) == [0.0, 7.0, 0.0]
  end

  test "gather, indexed_put and indexed_add take coordinates" do
    x = Mlx.array(@x)
    at = Mlx.array([[[0, 1], [3, 4]], [[2, 2], [0, 0]]])
    assert [[1, 19], [12, 0]] = Mlx.to_list(Mlx.gather(x, at))
    assert Mlx.gather(x, Mlx.array([[0], [2]])).shape == {2, 5}
    rows = Mlx.array([[0], [0]])
    assert [5, 6, 7, 8, 9] = Mlx.to_list(Mlx.indexed_add(x, rows, Mlx.array([[2], [3]]))[0])
    assert [0, 0, 0, 0, 0] = Mlx.to_list(Mlx.indexed_put(x, rows, 0)[0])
  end

  test "what does not fit raises" do
    x = Mlx.array(@x)
    assert_raise ArgumentError, ~r/index 4 is out of bounds for axis 0 of size 4/, fn -> Mlx.take(x, 4) end
    assert_raise ArgumentError, ~r/axis 1 of size 5/, fn -> Mlx.take(x, [0, 9], axis: -1) end
    assert_raise ArgumentError, ~r/Mlx.take: 2 is not an axis/, fn -> Mlx.take(x, 0, axis: 2) end
    assert_raise ArgumentError, ~r/boolean mask/, fn -> Mlx.take(x, Mlx.array([true])) end
    assert_raise ArgumentError, ~r/integer type/, fn -> Mlx.take_along_axis(x, Mlx.array([[0.5]])) end
    assert_raise ArgumentError, ~r/3 elements from 2 on are out of bounds/, fn -> Mlx.slice(x, [2, 0], [3, 1]) end
    assert_raise ArgumentError, ~r/6 elements from 0 on/, fn -> Mlx.slice(x, [Mlx.array(0), 0], [1, 6]) end
    assert_raise ArgumentError, ~r/expected 2 starts/, fn -> Mlx.slice(x, [2], [3]) end
    assert_raise ArgumentError, ~r/not negative/, fn -> Mlx.slice(x, [-1, 0], [1, 1]) end
    assert_raise ArgumentError, ~r/not negative/, fn -> Mlx.slice(x, [0, 0], [1, 1], strides: 0) end
    assert_raise ArgumentError, ~r/not negative/, fn -> Mlx.slice(x, [Mlx.array([0]), 0], [1, 1]) end
    assert_raise ArgumentError, ~r/not negative/, fn -> Mlx.slice(x, [Mlx.array(0.5), 0], [1, 1]) end
    assert_raise ArgumentError, ~r/out of bounds for axis 1/, fn -> Mlx.put_slice(x, [0, 4], Mlx.array([[1, 2]])) end
    assert_raise ArgumentError, ~r/more coordinates/, fn -> Mlx.gather(x, Mlx.array([[0, 0, 0]])) end
    assert_raise ArgumentError, ~r/at least one axis/, fn -> Mlx.gather(x, Mlx.array(0)) end
  end
end
