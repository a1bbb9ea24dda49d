defmodule Mlx.Ops.JoiningTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  @moduletag :oracle

  test "concatenate and stack" do
    a = Mlx.array([[1, 2, 3]])
    b = Mlx.array([[4, 5, 6], [7, 8, 9]])
    assert_oracle(Mlx.concatenate([a, b]), "mx.concatenate([a, b])", a: a, b: b)
    assert_oracle(Mlx.concatenate([a, a], axis: -1), "mx.concatenate([a, a], axis=-1)", a: a)

    assert_oracle(Mlx.concatenate([a, b], axis: nil), "mx.concatenate([a, b], axis=None)", a: a, b: b)

    f = Mlx.array([[0.5, 1.5, 2.5]])
    assert_oracle(Mlx.concatenate([a, f]), "mx.concatenate([a, f])", a: a, f: f)
    assert_oracle(Mlx.stack([a, a], axis: 1), "mx.stack([a, a], axis=1)", a: a)
    assert_oracle(Mlx.stack([a, a], axis: -1), "mx.stack([a, a], axis=-1)", a: a)
    assert_raise Mlx.Error, fn -> Mlx.concatenate([a, Mlx.array([[1]])]) end
    assert_raise Mlx.Error, fn -> Mlx.stack([a, b]) end
    assert_raise Mlx.Error, fn -> Mlx.concatenate([]) end
  end

  test "split and unstack" do
    x = Mlx.reshape(Mlx.arange(24), {4, 6})
    assert_oracle(Mlx.split(x, 2), "mx.split(x, 2)", x: x)
    assert_oracle(Mlx.split(x, 3, axis: 1), "mx.split(x, 3, axis=1)", x: x)
    assert_oracle(Mlx.split(x, [1, 3, 3], axis: -1), "mx.split(x, [1, 3, 3], axis=-1)", x: x)
    assert_oracle(Mlx.unstack(x), "mx.unstack(x)", x: x)
    assert_oracle(Mlx.unstack(x, axis: 1), "mx.unstack(x, axis=1)", x: x)
    assert_raise Mlx.Error, fn -> Mlx.split(x, 3) end
    assert_raise Mlx.Error, fn -> Mlx.split(x, 2, axis: 2) end
  end

  test "meshgrid" do
    x = Mlx.array([1, 2, 3])
    y = Mlx.array([0.5, 1.5])
    assert_oracle(Mlx.meshgrid([x, y]), "mx.meshgrid(x, y)", x: x, y: y)
    sparse = Mlx.meshgrid([x, y], indexing: :ij, sparse: true)
    assert_oracle(sparse, "mx.meshgrid(x, y, indexing='ij', sparse=True)", x: x, y: y)
    assert_raise Mlx.Error, fn -> Mlx.meshgrid([x, y], indexing: :yx) end
  end

  # MLX takes these parts for contiguous.
  test "parts of a reversed array" do
    reversed = Mlx.as_strided(Mlx.arange(12), {3, 4}, [-4, -1], offset: 11)
    [first | _] = columns = Enum.map(Mlx.unstack(reversed, axis: 1), &Mlx.negate/1)
    assert Enum.map(columns, &Mlx.to_list/1) == [[-11, -7, -3], [-10, -6, -2], [-9, -5, -1], [-8, -4, 0]]
    assert Mlx.to_list(Mlx.take(Mlx.arange(12), Mlx.negate(first))) == [11, 7, 3]

    for parts <- [2, [2]] do
      halves = reversed |> Mlx.split(parts, axis: 1) |> Enum.map(&Mlx.to_list(Mlx.negate(&1)))
      assert halves == [[[-11, -10], [-7, -6], [-3, -2]], [[-9, -8], [-5, -4], [-1, 0]]]
    end
  end
end
