defmodule Mlx.Ops.ExponentialFunctionsTest do
  # exp and the sigmoid, which have vectors of this library on a CPU. They give the bits that MLX gives.
  use ExUnit.Case, async: true

  defp on_cpu(fun), do: Mlx.with_device(:cpu, fun)

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
