defmodule Mlx.Ops.PatchesTest do
  # Convolutions on a CPU, which this library makes of patches.
  use ExUnit.Case, async: true

  defp on_cpu(fun), do: Mlx.with_device(:cpu, fun)
  defp normal(shape, seed), do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))

  # What is mapped over an axis is convolved by MLX.
  defp by_mlx(fun, arrays) do
    Mlx.Tree.map(Mlx.vmap(fun).(Mlx.Tree.map(arrays, &Mlx.new_axis(&1, 0))), &Mlx.squeeze(&1, axes: [0]))
  end

  # Sums of products are equal, but for the rounding of their summands.
  defp assert_same_sum({a, b}, {c, d}) do
    sum = fn products -> products |> Mlx.sum() |> Mlx.to_number() end
    {got, wanted} = {Mlx.multiply(a, b), Mlx.multiply(c, d)}
    assert_in_delta sum.(got), sum.(wanted), 1.0e-5 * sum.(Mlx.abs(wanted))
  end

  defp assert_near(got, expected) do
    assert got.shape == expected.shape
    largest = fn array -> array |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number() end
    assert largest.(Mlx.subtract(got, expected)) <= 1.0e-5 * max(largest.(expected), 1.0e-6)
  end

  @cases [
    # shape of the input, shape of the weights, options
    {{2, 9, 4}, {3, 3, 4}, []},
    {{2, 9, 1}, {1, 4, 1}, [strides: 3, padding: 2]},
    {{1, 6, 5, 3}, {4, 1, 1, 3}, []},
    {{3, 6, 5, 3}, {4, 1, 1, 3}, [strides: 2]},
    {{2, 8, 7, 5}, {6, 3, 2, 5}, [strides: [2, 1], padding: [{1, 2}, {0, 1}]]},
    {{2, 8, 9, 2}, {3, 3, 3, 2}, [kernel_dilation: [2, 3], padding: 2]},
    {{2, 5, 4, 2}, {3, 3, 3, 2}, [input_dilation: [2, 3], padding: 1, flip: true]},
    {{2, 5, 4, 2}, {3, 3, 2, 2}, [input_dilation: [1, 2], strides: [2, 3], kernel_dilation: [1, 2], padding: [1, 2]]},
    {{1, 4, 5, 6, 2}, {3, 2, 3, 2, 2}, [strides: [1, 2, 3], padding: 1]},
    {{1, 2, 3, 3, 2}, {2, 2, 2, 2, 2}, [input_dilation: 2, flip: true]},
    # More padding than the kernel reaches, and a kernel larger than the input.
    {{1, 4, 2}, {2, 2, 2}, [padding: 3]},
    {{2, 2, 2, 1}, {2, 4, 3, 1}, [padding: 2]},
    # Several pieces, for several threads.
    {{8, 40, 41, 16}, {8, 3, 3, 16}, [padding: 1, strides: 2]}
  ]

  for {input, weight, options} <- @cases do
    test "of #{inspect(input)} and #{inspect(weight)} with #{inspect(options)}, and their gradients" do
      convolve = fn [x, w] -> Mlx.conv(x, w, unquote(Macro.escape(options))) end
      arrays = [normal(unquote(Macro.escape(input)), 1), normal(unquote(Macro.escape(weight)), 2)]

      on_cpu(fn ->
        expected = by_mlx(convolve, arrays)
        assert_near(convolve.(arrays), expected)

        # A convolution is linear in each of both: its gradient by a direction is the convolution of the direction.
        [x, w] = arrays
        other = normal(expected.shape, 3)
        gradients = Mlx.grad(fn arrays -> arrays |> convolve.() |> Mlx.multiply(other) |> Mlx.sum() end)
        [of_input, of_weight] = gradients.(arrays)

        for seed <- 5..8 do
          {dx, dw} = {normal(x.shape, seed), normal(w.shape, seed)}
          assert_same_sum({of_input, dx}, {by_mlx(convolve, [dx, w]), other})
          assert_same_sum({of_weight, dw}, {by_mlx(convolve, [x, dw]), other})
        end

        change = normal(unquote(Macro.escape(input)), 4)
        {_value, tangent} = Mlx.jvp(&convolve.([&1, &2]), arrays, [change, Mlx.multiply(w, 0.5)])
        assert_near(tangent, Mlx.add(convolve.([change, w]), convolve.([x, Mlx.multiply(w, 0.5)])))
      end)
    end
  end

  test "of views of any layout" do
    on_cpu(fn ->
      x = normal({2, 5, 6, 8}, 1)
      w = normal({8, 3, 3, 6}, 2)

      for view <- [
            Mlx.transpose(x, axes: [0, 1, 3, 2]),
            Mlx.transpose(x, axes: [0, 1, 3, 2]) |> Mlx.reverse(),
            Mlx.slice(normal({2, 9, 9, 12}, 3), [0, 0, 1, 0], [2, 9, 8, 12], strides: [1, 2, 1, 2]),
            Mlx.broadcast(normal({1, 7, 7, 6}, 4), {3, 7, 7, 6})
          ] do
        assert_near(Mlx.conv(view, w), Mlx.conv(Mlx.contiguous(view), w))
        assert_near(Mlx.conv(view, w), by_mlx(fn [x, w] -> Mlx.conv(x, w) end, [view, w]))
      end
    end)
  end

  test "have second derivatives, and can be mapped" do
    on_cpu(fn ->
      x = normal({2, 6, 5, 3}, 1)
      w = normal({4, 3, 3, 3}, 2)
      slope = Mlx.grad(fn w -> Mlx.sum(Mlx.tanh(Mlx.conv(x, w, strides: 2))) end)
      direction = normal({4, 3, 3, 3}, 3)
      curvature = Mlx.grad(fn w -> Mlx.sum(Mlx.multiply(slope.(w), direction)) end).(w)
      step = Mlx.multiply(direction, 1.0e-3)
      numerical = Mlx.divide(Mlx.subtract(slope.(Mlx.add(w, step)), slope.(Mlx.subtract(w, step))), 2.0e-3)
      error = curvature |> Mlx.subtract(numerical) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
      assert error < 0.01 * (curvature |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number())

      rows = Mlx.vmap(fn x -> Mlx.conv(x, w) end)
      assert_near(rows.(Mlx.stack([x, x])), Mlx.stack([Mlx.conv(x, w), Mlx.conv(x, w)]))
    end)
  end
end
