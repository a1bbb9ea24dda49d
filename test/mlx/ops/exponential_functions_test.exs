defmodule Mlx.Ops.ExponentialFunctionsTest do
  # exp, the sigmoid and the softmax of attention, which have vectors of this library on a CPU. They give the bits of MLX.
  use ExUnit.Case, async: true

  defp on_cpu(fun), do: Mlx.with_device(:cpu, fun)

  defp normal(shape, seed), do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))

  # What MLX computes: a function that is recorded for other shapes has its operation.
  defp by_mlx(function, x), do: Mlx.compile(function, shapeless: true).(x)

  # Without NaN, which has many bit patterns.
  defp assert_same_bits(function, x) do
    assert Mlx.to_binary(function.(x)) == Mlx.to_binary(by_mlx(function, x))
  end

  defp functions, do: [&Mlx.exp/1, &Mlx.sigmoid/1]

  test "of numbers of all sizes have the bits of MLX" do
    on_cpu(fn ->
      # Each 4099th of all bit patterns: of positive ones, and of negative ones.
      for sign <- [0, 0x80000000] do
        last = div(0x7F800000, 4099)
        x = Mlx.arange(0, last, type: :u32) |> Mlx.multiply(4099) |> Mlx.bitwise_or(sign) |> Mlx.bitcast(:f32)
        for function <- functions(), do: assert_same_bits(function, x)
      end

      bounds = [0.0, -0.0, 0.5, -0.5, 88.0, -88.0, 88.00001, -88.00001, 87.5, 1.0e-40, :infinity, :neg_infinity]
      for function <- functions(), do: assert_same_bits(function, Mlx.array(bounds, type: :f32))
      for function <- functions(), do: assert(Mlx.to_list(function.(Mlx.array([:nan], type: :f32))) == [:nan])
    end)
  end

  test "of arrays of any layout have the bits of MLX" do
    on_cpu(fn ->
      x = Mlx.Random.normal({6, 50, 70}, key: Mlx.Random.key(1))

      for view <- [
            x,
            x[0][0][0],
            Mlx.transpose(x),
            Mlx.slice(x, [1, 2, 3], [4, 40, 60]),
            Mlx.slice(x, [0, 0, 0], [6, 50, 70], strides: [2, 2, 2]),
            Mlx.broadcast(x[0], {3, 50, 70}),
            Mlx.reverse(x),
            Mlx.Random.normal({3, 100_000}, key: Mlx.Random.key(2)) |> Mlx.slice([0, 1], [3, 99_990])
          ],
          function <- functions() do
        assert_same_bits(function, view)
        assert function.(view).shape == view.shape
      end

      assert Mlx.exp(Mlx.zeros({0, 3})).shape == {0, 3}
    end)
  end

  # What is mapped over an axis has the softmax of MLX.
  test "of attention have the bits of MLX, and the derivative" do
    on_cpu(fn ->
      for {batch, heads, queries, keys, mask} <- [
            {2, 4, 7, 7, nil},
            {1, 9, 1, 130, nil},
            {2, 6, 33, 40, :causal},
            {1, 3, 5, 17, Mlx.greater(normal({5, 17}, 4), 0)},
            {1, 3, 20, 300, normal({20, 300}, 4)}
          ],
          known <- [heads, div(heads, 3)],
          known > 0 and rem(heads, known) == 0 do
        q = normal({batch, heads, queries, 16}, 1)
        k = normal({batch, known, keys, 16}, 2)
        v = normal({batch, known, keys, 16}, 3)
        attend = fn q, k, v -> Mlx.Fast.scaled_dot_product_attention(q, k, v, scale: 0.3, mask: mask) end
        [q2, k2, v2] = for array <- [q, k, v], do: Mlx.new_axis(array, 0)
        by_mlx = Mlx.squeeze(Mlx.vmap(attend).(q2, k2, v2), axes: [0])
        assert Mlx.to_binary(attend.(q, k, v)) == Mlx.to_binary(by_mlx)

        sum = fn q, k, v -> Mlx.sum(Mlx.square(attend.(q, k, v))) end
        slopes = Tuple.to_list(Mlx.grad(sum, argnums: [0, 1, 2]).(q, k, v))
        change = normal(k.shape, 5)
        along = slopes |> Enum.at(1) |> Mlx.multiply(change) |> Mlx.sum() |> Mlx.to_number()

        [more, less] =
          for step <- [1.0e-2, -1.0e-2], do: Mlx.to_number(sum.(q, Mlx.add(k, Mlx.multiply(change, step)), v))

        assert_in_delta along, (more - less) / 2.0e-2, 0.02 * max(abs(along), 1.0)

        compiled = Mlx.compile(fn q, k, v -> attend.(q, k, v) end)
        assert Mlx.to_binary(compiled.(q, k, v)) == Mlx.to_binary(by_mlx)
      end
    end)
  end

  test "have derivatives, and can be mapped and compiled" do
    on_cpu(fn ->
      x = Mlx.linspace(-3, 3, n: 64)

      for function <- functions() do
        numerical = Mlx.divide(Mlx.subtract(function.(Mlx.add(x, 0.01)), function.(Mlx.subtract(x, 0.01))), 0.02)
        slope = Mlx.grad(fn x -> Mlx.sum(function.(x)) end).(x)
        error = slope |> Mlx.subtract(numerical) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
        assert error < 0.005

        twice = fn x -> Mlx.multiply(function.(Mlx.add(x, 1)), 2) end
        expected = Mlx.to_binary(twice.(x))
        assert Mlx.to_binary(Mlx.compile(twice).(x)) == expected
        assert Mlx.to_binary(Mlx.vmap(twice).(x)) == expected
      end
    end)
  end
end
