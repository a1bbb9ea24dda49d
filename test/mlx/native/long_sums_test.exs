defmodule Mlx.Native.LongSumsTest do
  # On a CPU, MLX adds the elements of a line one after another to one number of the type of the sum, which stops to grow at
  # some size: 2^24 for ones in f32, 2,048 in f16, 256 in bf16. Nothing here is compared with Python, which gives that.
  use ExUnit.Case, async: true

  alias Mlx.Random

  # More ones than f32 can count.
  @many 33_554_432
  @halves [:f16, :bf16]

  defp number(array), do: Mlx.to_number(array)

  defp on_cpu(fun), do: Mlx.with_device(:cpu, fun)

  describe "f32" do
    test "sums and means of more ones than f32 can count" do
      on_cpu(fn ->
        ones = Mlx.ones({@many})
        assert ones |> Mlx.sum() |> number() == @many
        assert ones |> Mlx.mean() |> number() == 1.0
        assert_in_delta ones |> Mlx.Linalg.norm() |> number(), :math.sqrt(@many), 0.001
        assert_in_delta {20_000_000} |> Mlx.full(255, type: :u8) |> Mlx.mean() |> number(), 255, 1.0e-4
        # What is left of whole pieces counts, and so does each of several axes.
        assert {@many + 77} |> Mlx.ones() |> Mlx.sum() |> Mlx.subtract(@many) |> number() == 76.0
        assert {4099, 8209} |> Mlx.ones() |> Mlx.sum() |> number() == Float.round(4099.0 * 8209 / 4) * 4
        assert {@many, 1} |> Mlx.ones() |> Mlx.sum(axes: [0]) |> Mlx.to_list() == [@many * 1.0]
        assert {2, @many} |> Mlx.ones() |> Mlx.sum(axes: [1], keep_axes: true) |> Mlx.to_list() == [[@many], [@many]]
        assert {@many} |> Mlx.full(1, type: :c64) |> Mlx.sum() |> Mlx.real() |> number() == @many
      end)
    end

    test "means and variances of integers whose sum is none of their type" do
      for device <- [:cpu, :gpu], Mlx.Device.available?(device) do
        Mlx.with_device(device, fn ->
          largest = Mlx.array([2_147_483_647, 2_147_483_647, 2_147_483_647, 2_147_483_643], type: :s32)
          assert_in_delta largest |> Mlx.mean() |> number(), 2_147_483_646, 200

          assert_in_delta [0, 2_000_000_000, 2_000_000_000] |> Mlx.array() |> Mlx.variance() |> number(),
                          8.888889e17,
                          1.0e12

          assert_in_delta {100} |> Mlx.full(2_000_000_000) |> Mlx.Linalg.norm() |> number(), 2.0e10, 1.0e4
        end)
      end
    end

    test "the variance of many normal numbers beside 100" do
      on_cpu(fn ->
        x = Random.normal({16_777_216}, loc: 100, key: Random.key(1))
        assert_in_delta x |> Mlx.variance() |> number(), 1.0, 0.002
        assert_in_delta x |> Mlx.standard_deviation() |> number(), 1.0, 0.001
        assert_in_delta x |> Mlx.mean() |> number(), 100.0, 0.002
      end)
    end

    test "softmax and logsumexp of many zeros" do
      on_cpu(fn ->
        zeros = Mlx.zeros({@many})
        assert zeros |> Mlx.softmax() |> Mlx.reduce_max() |> number() == 1 / @many
        assert_in_delta zeros |> Mlx.logsumexp() |> number(), 25 * :math.log(2), 1.0e-5
        assert_in_delta zeros |> Mlx.grad(&Mlx.logsumexp/1).() |> Mlx.reduce_max() |> number(), 1 / @many, 1.0e-12

        assert zeros |> Mlx.reshape({1, @many}) |> Mlx.logsumexp(axes: [1], keep_axes: true) |> Map.fetch!(:shape) ==
                 {1, 1}

        infinite = Mlx.full({100_000}, :neg_infinity)
        assert infinite |> Mlx.logsumexp() |> number() == :neg_infinity
      end)
    end

    test "gradients of what is broadcast, mapped sums, and compiled ones" do
      on_cpu(fn ->
        ones = Mlx.ones({@many})
        loss = fn b -> Mlx.sum(Mlx.multiply(ones, b)) end
        assert Mlx.array(1.0) |> Mlx.grad(loss).() |> number() == @many
        assert Mlx.array(1.0) |> Mlx.compile(Mlx.grad(loss)).() |> number() == @many
        assert ones |> Mlx.compile(&Mlx.mean/1).() |> number() == 1.0
        assert {2, @many} |> Mlx.ones() |> Mlx.vmap(&Mlx.sum/1).() |> Mlx.to_list() == [@many, @many]

        any_shape = Mlx.compile(&Mlx.sum(&1, axes: [-1]), shapeless: true)
        assert {3, 5} |> Mlx.ones() |> any_shape.() |> Mlx.to_list() == [5, 5, 5]
        assert {1, @many} |> Mlx.ones() |> any_shape.() |> Mlx.to_list() == [@many]
        # An axis of one element, which MLX has no plan for.
        for reduce <- [&Mlx.sum/2, &Mlx.product/2, &Mlx.reduce_max/2, &Mlx.reduce_min/2, &Mlx.all/2, &Mlx.any/2] do
          any_shape = Mlx.compile(&reduce.(&1, axes: [0]), shapeless: true)
          assert {2, 3} |> Mlx.ones() |> any_shape.() |> Map.fetch!(:shape) == {3}

          for x <- [Mlx.ones({1, 3}), Mlx.transpose(Mlx.ones({3, 1}))],
              do: assert(number(any_shape.(x)[2]) in [1.0, true])
        end
      end)
    end

    test "any shape and any axes are within rounding of the sum in f64" do
      on_cpu(fn ->
        :rand.seed(:exsss, {1, 2, 3})

        for trial <- 1..60 do
          shape = for _axis <- 1..:rand.uniform(4), do: Enum.random([1, 2, 3, 17, 255, 256, 257, 700])
          shape = if Enum.product(shape) > 40_000_000, do: Enum.take(shape, 2), else: shape
          axes = Enum.filter(0..(length(shape) - 1), fn _axis -> :rand.uniform() < 0.6 end)
          x = Random.uniform(List.to_tuple(shape), key: Random.key(trial))
          x = if rem(trial, 2) == 0, do: Mlx.transpose(x), else: x
          sum = Mlx.sum(x, axes: axes)
          exact = x |> Mlx.as_type(:f64) |> Mlx.sum(axes: axes)
          error = sum |> Mlx.subtract(exact) |> Mlx.abs() |> Mlx.divide(exact) |> Mlx.reduce_max() |> number()
          assert error < 1.0e-5, "shape #{inspect(shape)}, axes #{inspect(axes)}: #{error}"
        end
      end)
    end
  end

  for type <- @halves do
    describe "#{type}" do
      @describetag type: type

      test "sums, means, norms and softmax", %{type: type} do
        on_cpu(fn ->
          assert {70_000} |> Mlx.ones(type: type) |> Mlx.mean() |> number() == 1.0
          assert_in_delta {20_000} |> Mlx.ones(type: type) |> Mlx.sum() |> number(), 20_000, 64
          assert {100, 20_000} |> Mlx.ones(type: type) |> Mlx.mean(axes: [1]) |> Mlx.reduce_min() |> number() == 1.0
          assert {20_000, 100} |> Mlx.ones(type: type) |> Mlx.mean(axes: [0]) |> Mlx.reduce_min() |> number() == 1.0
          assert_in_delta {10_000} |> Mlx.ones(type: type) |> Mlx.Linalg.norm() |> number(), 100, 0.5

          assert_in_delta {5000} |> Mlx.zeros(type: type) |> Mlx.softmax() |> Mlx.reduce_max() |> number(),
                          1 / 5000,
                          1.0e-6

          assert_in_delta {5000} |> Mlx.zeros(type: type) |> Mlx.logsumexp() |> number(), :math.log(5000), 0.04
          assert {@many} |> Mlx.ones(type: type) |> Mlx.mean() |> number() == 1.0
          # Squares that are too large for f16.
          assert_in_delta {1000} |> Mlx.full(300, type: type) |> Mlx.Linalg.norm() |> number(), 9487, 32
          assert_in_delta [-300, 300] |> Mlx.array(type: type) |> Mlx.standard_deviation() |> number(), 300, 1
        end)
      end

      test "sums up to each element", %{type: type} do
        on_cpu(fn ->
          sums = {6000} |> Mlx.ones(type: type) |> Mlx.cumulative_sum()
          assert sums.type == type
          assert_in_delta sums[-1] |> number(), 6000, 16
          ones = Mlx.ones({2, 3000}, type: type)
          assert_in_delta ones |> Mlx.cumulative_sum(axis: 1, reverse: true) |> Mlx.reduce_max() |> number(), 3000, 8
          assert Mlx.ones({3}, type: :s32) |> Mlx.cumulative_sum(type: type) |> Mlx.to_list() == [1.0, 2.0, 3.0]
        end)
      end

      test "what is added to one place many times", %{type: type} do
        on_cpu(fn ->
          places = Mlx.zeros({3000}, type: :s32)
          added = {2} |> Mlx.zeros(type: type) |> Mlx.add_at([places], Mlx.ones({3000}, type: type))
          assert added.type == type
          assert_in_delta added[0] |> number(), 3000, 8
          assert added[1] |> number() == 0.0

          along = Mlx.add_along_axis(Mlx.zeros({2}, type: type), places, Mlx.ones({3000}, type: type))
          assert_in_delta along[0] |> number(), 3000, 8

          table = Mlx.ones({2, 4}, type: type)
          gradient = Mlx.grad(fn table -> table |> Mlx.take(places) |> Mlx.sum() end).(table)
          assert gradient.type == type
          assert_in_delta gradient[0][3] |> number(), 3000, 8
          assert gradient[1] |> Mlx.to_list() == [0.0, 0.0, 0.0, 0.0]
        end)
      end

      test "the gradient of a bias of a large batch", %{type: type} do
        on_cpu(fn ->
          x = Mlx.ones({5000, 3}, type: type)
          loss = fn bias -> x |> Mlx.add(bias) |> Mlx.sum() end
          gradient = Mlx.grad(loss).(Mlx.zeros({3}, type: type))
          for sum <- Mlx.to_list(gradient), do: assert_in_delta(sum, 5000, 16)
        end)
      end
    end
  end
end
