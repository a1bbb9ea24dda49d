defmodule Mlx.ConvolutionTest do
  use ExUnit.Case, async: true

  import Mlx.Oracle

  @moduletag :oracle

  defp wave(shape), do: Mlx.reshape(Mlx.sin(Mlx.arange(Tuple.product(shape), type: :f32)), shape)

  test "borders that are longer than the result leave other memory alone" do
    for _ <- 1..300 do
      image = Mlx.conv(Mlx.ones({1, 1, 1, 1}), Mlx.ones({1, 3, 3, 1}), padding: 2, kernel_dilation: 2)
      assert Mlx.to_flat_list(image) == [1.0]
      kernel = Mlx.conv(Mlx.ones({1, 1, 2, 1, 2}), Mlx.ones({1, 3, 1, 5, 2}), padding: [2, 0, 4], kernel_dilation: 2)
      assert Mlx.to_flat_list(kernel) == [2.0, 2.0]
    end
  end

  test "one, two and three axes" do
    x = wave({2, 9, 4})
    w = wave({3, 3, 4})
    assert_oracle(Mlx.conv(x, w), "mx.conv1d(x, w)", x: x, w: w)
    strided = Mlx.conv(x, w, strides: 2, padding: 1, kernel_dilation: 2)
    assert_oracle(strided, "mx.conv1d(x, w, 2, 1, 2)", x: x, w: w)

    x = wave({1, 7, 8, 2})
    w = wave({4, 3, 2, 2})
    assert_oracle(Mlx.conv(x, w, strides: [1, 2], padding: [2, 0]), "mx.conv2d(x, w, (1, 2), (2, 0))", x: x, w: w)
    grouped = Mlx.conv(x, w[[.., .., .., 0..0]], feature_group_size: 2)
    assert_oracle(grouped, "mx.conv2d(x, w[..., :1], groups=2)", x: x, w: w)

    x = wave({1, 5, 5, 5, 1})
    w = wave({2, 2, 2, 2, 1})
    assert_oracle(Mlx.conv(x, w, padding: 1), "mx.conv3d(x, w, padding=1)", x: x, w: w)
  end

  test "padding of each side, dilated input, and a kernel turned around" do
    x = wave({1, 6, 6, 1})
    w = wave({1, 3, 3, 1})
    options = [padding: [{1, 2}, {0, 1}], input_dilation: [1, 2], flip: true]
    python = "mx.conv_general(x, w, 1, ([1, 0], [2, 1]), 1, [1, 2], 1, True)"
    assert_oracle(Mlx.conv(x, w, options), python, x: x, w: w)
  end

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
    assert_oracle(Mlx.conv_transpose(x, w, options), "mx.conv_transpose1d(x, w, 2, 1, 1, 1)", x: x, w: w)

    x = wave({1, 3, 4, 2})
    w = wave({2, 2, 3, 2})
    transposed = Mlx.conv_transpose(x, w, strides: [2, 1], kernel_dilation: [1, 2])
    assert_oracle(transposed, "mx.conv_transpose2d(x, w, (2, 1), (0, 0), (1, 2))", x: x, w: w)

    x = wave({1, 2, 2, 2, 1})
    w = wave({1, 2, 2, 2, 1})
    assert_oracle(Mlx.conv_transpose(x, w), "mx.conv_transpose3d(x, w)", x: x, w: w)
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
