defmodule Mlx.LM.Quantization.UnpackedTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, SwitchLinear}
  alias Mlx.LM.Quantization.{Packing, Unpacked}
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear}

  defp random(shape, seed), do: Mlx.Random.normal(shape, key: Mlx.Random.key(seed))
  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  # What a layer gives, and the gradients of its scales and biases.
  defp both(layer, call) do
    y = call.(layer)

    {scales, biases} =
      Mlx.grad(
        fn scales, biases -> %{layer | scales: scales, biases: biases} |> call.() |> Mlx.square() |> Mlx.sum() end,
        argnums: [0, 1]
      ).(layer.scales, layer.biases)

    [y, scales, biases]
  end

  test "computes what quantized layers do, with their gradients" do
    for bits <- [3, 4], {layer, quantized, call} <- layers() do
      packed = Packing.packed(layer, group_size: 32, bits: bits, mode: :affine)
      assert packed.__struct__ == quantized
      unpacked = Unpacked.of(packed)

      for {a, b} <- Enum.zip(both(unpacked, call), both(packed, call)),
          do: assert(distance(a, b) < 2.0e-2 and a.shape == b.shape)
    end

    mode = Packing.packed(%Linear{weight: random({4, 32}, 1), bias: nil}, mode: :mxfp4, group_size: 32, bits: 4)
    assert Unpacked.of(mode) == mode
  end

  defp layers do
    x = random({5, 64}, 1)
    rows = random({6, 1, 64}, 2)
    experts = Mlx.array([0, 1, 1, 2, 0, 1], type: :u32)
    ids = Mlx.array([[1, 0, 3]])

    [
      {%Linear{weight: random({7, 64}, 3), bias: random({7}, 4)}, QuantizedLinear, &Mlx.NN.Layer.call(&1, x)},
      {%Embedding{weight: random({7, 64}, 3)}, QuantizedEmbedding, &Mlx.NN.Layer.call(&1, ids)},
      {%Embedding{weight: random({7, 64}, 3)}, QuantizedEmbedding, & &1.__struct__.as_linear(&1, x)},
      {%SwitchLinear{weight: random({3, 7, 64}, 3), bias: nil}, QuantizedSwitchLinear,
       & &1.__struct__.call(&1, rows, experts, false)}
    ]
  end
end
