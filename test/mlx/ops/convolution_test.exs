defmodule Mlx.Ops.ConvolutionTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  @moduletag :oracle

  # On a CPU, convolutions of this library add up in another order than MLX's.
  @share_of_sums 1.0e-5

  defp wave(shape), do: Mlx.reshape(Mlx.sin(Mlx.arange(Tuple.product(shape), type: :f32)), shape)

  test "borders that are longer than the result leave other memory alone" do
    for _ <- 1..300 do
      image = Mlx.conv(Mlx.ones({1, 1, 1, 1}), Mlx.ones({1, 3, 3, 1}), padding: 2, kernel_dilation: 2)
      assert Mlx.to_flat_list(image) == [1.0]
      kernel = Mlx.conv(Mlx.ones({1, 1, 2, 1, 2}), Mlx.ones({1, 3, 1, 5, 2}), padding: [2, 0, 4], kernel_dilation: 2)
      assert Mlx.to_flat_list(kernel) == [2.0, 2.0]
    end
  end

  test "arrays of a few bytes, whose order is another one, wherever they are" do
    for count <- 1..40, reduce: [] do
      kept ->
        input = Mlx.transpose(Mlx.reshape(Mlx.arange(8, type: :f32), {2, 2, 2}), axes: [0, 2, 1])
        kernel = Mlx.broadcast(Mlx.array(1.0 * count), {1, 1, 2})
        result = Mlx.conv(input, kernel)
        assert Mlx.to_flat_list(result) == Enum.map([2.0, 4.0, 10.0, 12.0], &(&1 * count))

        {of_input, of_kernel} =
          Mlx.grad(&Mlx.sum(Mlx.conv(&1, &2)), argnums: [0, 1]).(input, kernel)

        assert Mlx.to_flat_list(of_input) == List.duplicate(1.0 * count, 8)
        assert Mlx.to_flat_list(of_kernel) == [10.0, 18.0]
        [result, of_input, of_kernel | kept]
    end
  end

  test "one, two and three axes" do
    x = wave({2, 9, 4})
    w = wave({3, 3, 4})
    assert_oracle(Mlx.conv(x, w), "mx.conv1d(x, w)", [x: x, w: w], share: @share_of_sums)
    strided = Mlx.conv(x, w, strides: 2, padding: 1, kernel_dilation: 2)
    assert_oracle(strided, "mx.conv1d(x, w, 2, 1, 2)", [x: x, w: w], share: @share_of_sums)

    x = wave({1, 7, 8, 2})
    w = wave({4, 3, 2, 2})

    assert_oracle(Mlx.conv(x, w, strides: [1, 2], padding: [2, 0]), "mx.conv2d(x, w, (1, 2), (2, 0))", [x: x, w: w],
      share: @share_of_sums
    )

    grouped = Mlx.conv(x, w[[.., .., .., 0..0]], feature_group_size: 2)
    assert_oracle(grouped, "mx.conv2d(x, w[..., :1], groups=2)", x: x, w: w)

    x = wave({1, 5, 5, 5, 1})
    w = wave({2, 2, 2, 2, 1})
    assert_oracle(Mlx.conv(x, w, padding: 1), "mx.conv3d(x, w, padding=1)", [x: x, w: w], share: @share_of_sums)
  end

  test "padding of each side, dilated input, and a kernel turned around" do
    x = wave({1, 6, 6, 1})
    w = wave({1, 3, 3, 1})
    options = [padding: [{1, 2}, {0, 1}], input_dilation: [1, 2], flip: true]
    python = "mx.conv_general(x, w, 1, ([1, 0], [2, 1]), 1, [1, 2], 1, True)"
    assert_oracle(Mlx.conv(x, w, options), python, [x: x, w: w], share: @share_of_sums)
  end

  # Whole numbers of so few bits that products and sums are exact in f32, and the numbers made of two of them in f64 only.
  test "numbers of f64 are convolved with all digits, as are derivatives" do
    for {options, input, kernel} <- [
          {[], {2, 9, 4}, {3, 3, 4}},
          {[strides: 2, padding: [{3, 1}], kernel_dilation: 2, flip: true], {2, 9, 4}, {3, 3, 4}},
          {[input_dilation: 3, padding: [{-1, 2}], strides: 2], {1, 8, 2}, {2, 3, 2}},
          {[strides: [1, 2], padding: [2, 0], feature_group_size: 2], {1, 7, 8, 4}, {6, 3, 2, 2}},
          {[padding: 1, input_dilation: [1, 2, 1]], {1, 4, 3, 5, 2}, {2, 2, 1, 3, 2}}
        ] do
      [high, low, w] =
        for {{shape, greatest}, seed} <- Enum.with_index([{input, 4096}, {input, 4096}, {kernel, 16}]) do
          Mlx.Random.randint(0, greatest, shape: shape, key: Mlx.Random.key(seed)) |> Mlx.as_type(:f32)
        end

      joined = fn high, low -> Mlx.add(Mlx.multiply(Mlx.as_type(high, :f64), 2 ** 20), low) end
      {x, w64} = {joined.(high, low), Mlx.as_type(w, :f64)}
      conv = &Mlx.conv(&1, &2, options)
      assert conv.(x, w64).type == :f64
      assert_same(conv.(x, w64), joined.(conv.(high, w), conv.(low, w)))
      assert_same(conv.(low, w64), Mlx.as_type(conv.(low, w), :f64))

      [mapped_x, mapped_w] =
        for {array, type} <- [{x, :f64}, {w, :f64}], do: Mlx.as_type(Mlx.stack([array, array]), type)

      assert_same(Mlx.vmap(conv).(mapped_x, mapped_w)[1], conv.(x, w64))

      gradient = fn x, w -> Mlx.grad(&Mlx.sum(conv.(&1, &2)), argnums: [0, 1]).(x, w) end
      [of_joined, of_high, of_low] = for {x, w} <- [{x, w64}, {high, w}, {low, w}], do: gradient.(x, w)
      assert_same(elem(of_joined, 0), Mlx.as_type(elem(of_low, 0), :f64))
      assert_same(elem(of_joined, 1), joined.(elem(of_high, 1), elem(of_low, 1)))
    end

    x = Mlx.array([0.1, 0.7, 0.3], type: :f64) |> Mlx.reshape({1, 3, 1})
    w = Mlx.array([0.3, 0.9], type: :f64) |> Mlx.reshape({1, 2, 1})
    transposed = Mlx.conv_transpose(x, w) |> Mlx.flatten() |> Mlx.to_list()
    expected = [0.1 * 0.3, 0.1 * 0.9 + 0.7 * 0.3, 0.7 * 0.9 + 0.3 * 0.3, 0.3 * 0.9]
    for {got, exact} <- Enum.zip(transposed, expected), do: assert_in_delta(got, exact, 1.0e-15)
    assert_raise Mlx.Error, ~r/^Mlx.conv: /, fn -> Mlx.conv(x, Mlx.ones({1, 2, 3}, type: :f64)) end
  end

  defp assert_same(a, b), do: assert({a.shape, Mlx.to_list(a)} == {b.shape, Mlx.to_list(b)})

  test ":same keeps the size" do
    x = wave({1, 6, 7, 1})

    for kernel <- [{1, 3, 3, 1}, {1, 2, 5, 1}, {1, 1, 4, 1}], dilation <- [1, 2] do
      assert Mlx.conv(x, wave(kernel), padding: :same, kernel_dilation: dilation).shape == {1, 6, 7, 1}
    end

    assert Mlx.conv(x, wave({1, 3, 3, 1}), padding: :valid).shape == {1, 4, 5, 1}
  end

  test "transposed" do
    x = wave({1, 4, 3})
    w = wave({2, 3, 3})
    options = [strides: 2, padding: 1, output_padding: 1]

    assert_oracle(Mlx.conv_transpose(x, w, options), "mx.conv_transpose1d(x, w, 2, 1, 1, 1)", [x: x, w: w],
      share: @share_of_sums
    )

    x = wave({1, 3, 4, 2})
    w = wave({2, 2, 3, 2})
    transposed = Mlx.conv_transpose(x, w, strides: [2, 1], kernel_dilation: [1, 2])
    assert_oracle(transposed, "mx.conv_transpose2d(x, w, (2, 1), (0, 0), (1, 2))", [x: x, w: w], share: @share_of_sums)

    x = wave({1, 2, 2, 2, 1})
    w = wave({1, 2, 2, 2, 1})
    assert_oracle(Mlx.conv_transpose(x, w), "mx.conv_transpose3d(x, w)", [x: x, w: w], share: @share_of_sums)
  end

  test "convolve" do
    for a <- [{5}, {3}], b <- [{3}, {4}, {1}], mode <- [:full, :same, :valid] do
      {a, b} = {wave(a), wave(b)}
      assert_oracle(Mlx.convolve(a, b, mode: mode), "mx.convolve(a, b, mode='#{mode}')", [a: a, b: b], ulps: 4)
    end

    for shape <- [{}, {0}, {2, 2}] do
      assert_raise ArgumentError, ~r/Mlx.convolve: expected/, fn -> Mlx.convolve(Mlx.zeros(shape), wave({2})) end
      assert_raise ArgumentError, ~r/Mlx.convolve: expected/, fn -> Mlx.convolve(wave({2}), Mlx.zeros(shape)) end
    end

    assert_raise ArgumentError, ~r/expected :mode/, fn -> Mlx.convolve(wave({2}), wave({2}), mode: :half) end
  end

  test "what does not fit raises" do
    assert_raise ArgumentError, ~r/rank 3, 4 or 5/, fn -> Mlx.conv(wave({2, 2}), wave({2, 2})) end

    assert_raise ArgumentError, ~r/list of 1 integers/, fn ->
      Mlx.conv(wave({1, 4, 1}), wave({1, 2, 1}), strides: [1, 1])
    end

    assert_raise Mlx.Error, fn -> Mlx.conv(wave({1, 4, 2}), wave({1, 2, 1})) end
    assert_raise Mlx.Error, fn -> Mlx.conv(wave({1, 4, 1}), wave({1, 2, 1}), strides: 0) end
  end

  test "kernels without elements and groups of none raise" do
    x = wave({1, 4, 1})
    assert_raise ArgumentError, ~r/no elements/, fn -> Mlx.conv(x, Mlx.zeros({1, 0, 1})) end
    assert_raise ArgumentError, ~r/no elements/, fn -> Mlx.conv_transpose(x, Mlx.zeros({1, 0, 1})) end
    assert_raise ArgumentError, ~r/to be positive/, fn -> Mlx.conv(x, wave({1, 2, 1}), feature_group_size: 0) end
  end
end
