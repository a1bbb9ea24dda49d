defmodule Mlx.NN.QQLinearTest do
  use ExUnit.Case, async: true

  # The product has kernels on GPUs only. It is compared with that of what the quantized numbers stand for.
  #
  # MLX's requirements: inputs and weights of :f16, :bf16 or :f32, the last axis a multiple of the size of a group, which is
  # 16 for :nvfp4 and 32 for :mxfp8; so are the other axes for gradients, which quantize along them. CUDA 12.8, and on
  # GPUs before Blackwell MLX multiplies by a kernel that unpacks.

  alias Mlx.{NN, Random}
  alias Mlx.NN.QQLinear

  @moduletag :gpu
  @moduletag skip: Mlx.Device.default() != :gpu && "needs a GPU"

  # MLX's own test has this tolerance with CUDA, whose products may round to TF32.
  @tolerance 0.05

  defp known(x, mode) do
    packing = QQLinear.new(64, 1, mode: mode) |> Map.take([:group_size, :bits, :mode]) |> Map.to_list()
    {packed, scales} = Mlx.quantize(x, packing)
    Mlx.dequantize(packed, scales, nil, packing) |> Mlx.as_type(:f32)
  end

  defp product(a, b, mode), do: Mlx.matmul(known(a, mode), Mlx.transpose(known(b, mode)))

  defp assert_near(actual, expected, scale \\ 1.0) do
    assert actual.shape == expected.shape

    difference =
      actual |> Mlx.as_type(:f32) |> Mlx.subtract(expected) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

    assert is_number(difference) and difference <= @tolerance * scale
  end

  for mode <- [:nvfp4, :mxfp8], rows <- [1, 7, 8, 33, 64], type <- [:f32, :bf16] do
    test "#{mode}, #{rows} rows of #{type}: the outputs are those of the dequantized product" do
      mode = unquote(mode)
      layer = QQLinear.new(128, 256, mode: mode)
      x = Random.normal({unquote(rows), 128}, key: Random.key(1)) |> Mlx.as_type(unquote(type))
      expected = product(x, layer.weight, mode)
      # Sums of bf16 are rounded to 8 bits.
      scale = if unquote(type) == :bf16, do: 2.0, else: 1.0

      for layer <- [layer, NN.eval(layer), layer |> NN.eval() |> NN.train()] do
        y = QQLinear.call(layer, x)
        assert y.type == unquote(type)
        assert_near(y, expected, scale)
      end
    end
  end

  for mode <- [:nvfp4, :mxfp8] do
    test "#{mode}: inputs of three axes and of one" do
      layer = QQLinear.new(64, 32, mode: unquote(mode))
      x = Random.normal({2, 3, 64}, key: Random.key(2))
      expected = product(Mlx.reshape(x, {6, 64}), layer.weight, unquote(mode))
      assert_near(QQLinear.call(layer, x), Mlx.reshape(expected, {2, 3, 32}))
      assert_near(QQLinear.call(layer, x[0][0]), expected[0])
    end

    test "#{mode}: the gradients are products of what is quantized along the other axis, compiled, too" do
      mode = unquote(mode)
      layer = QQLinear.new(64, 128, mode: mode)
      x = Random.normal({32, 64}, key: Random.key(3))
      cotangent = Random.normal({32, 128}, key: Random.key(4))
      loss = fn weight, x -> QQLinear.call(%{layer | weight: weight}, x) |> Mlx.multiply(cotangent) |> Mlx.sum() end
      gradients = Mlx.grad(loss, argnums: [0, 1])

      for gradients <- [gradients, Mlx.compile(gradients)] do
        {of_weight, of_x} = gradients.(layer.weight, x)
        assert_near(of_x, product(cotangent, Mlx.transpose(layer.weight), mode))
        assert_near(of_weight, product(Mlx.transpose(cotangent), Mlx.transpose(x), mode), 2.0)
      end
    end

    test "#{mode}: a training step makes the loss fall" do
      model = [QQLinear.new(64, 64, mode: unquote(mode)), &NN.Activations.relu/1, NN.Linear.new(64, 1)]
      data = %{x: Random.normal({64, 64}, key: Random.key(5)), y: Mlx.ones({64, 1})}
      loss = fn model, batch -> batch.x |> NN.forward(model) |> NN.Losses.mse_loss(batch.y) end
      options = [epochs: 30, report_every: 1, seed: 1, progress: nil]
      training = Mlx.Training.run(model, loss, Mlx.Optimizers.Adam.new(0.01), [data], options)
      {1, first} = List.last(training.losses)
      [{30, last} | _] = training.losses
      assert last < first / 2
    end
  end
end
