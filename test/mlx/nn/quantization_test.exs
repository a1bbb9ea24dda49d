defmodule Mlx.NN.QuantizationTest do
  use ExUnit.Case, async: true

  import Mlx.LayerOracle, only: [wave: 1]
  import Mlx.Oracle

  alias Mlx.{NN, Tree}
  alias Mlx.NN.{Embedding, LayerNorm, Linear, QQLinear, QuantizedEmbedding, QuantizedLinear}

  defp model do
    %{
      "embed" => Embedding.new(8, 64),
      "layers" => [Linear.new(64, 64), LayerNorm.new(64), Linear.new(64, 32, bias: false)]
    }
  end

  @tag :oracle
  test "a model is quantized as in Python" do
    python =
      "(lambda m: [mx.random.seed(1), m.__setattr__('embed', nn.Embedding(8, 64)), m.__setattr__('layers', " <>
        "[nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 32, bias=False)]), nn.quantize(m, OPTIONS), " <>
        "layers.flat(m.parameters())][-1])(nn.Module())"

    for {options, there} <- [
          {[], ""},
          {[bits: 8, group_size: 32], "32, 8"},
          {[mode: :mxfp8], "mode='mxfp8'"},
          {[where: fn path, _layer -> path != "layers.0" end],
           "class_predicate=lambda p, m: 'layers.0' not in p and hasattr(m, 'to_quantized')"},
          {[where: fn path, _layer -> if path == "embed", do: [bits: 2], else: true end],
           "class_predicate=lambda p, m: {'bits': 2} if p == 'embed' else hasattr(m, 'to_quantized')"}
        ] do
      Mlx.Random.seed(1)
      quantized = NN.quantize(model(), options)
      arrays = quantized |> Tree.flatten() |> Enum.sort_by(&elem(&1, 0)) |> Enum.map(&elem(&1, 1))
      assert_oracle(arrays, String.replace(python, "OPTIONS", there))
    end
  end

  test "layers that have no matrix stay" do
    assert %{"embed" => %QuantizedEmbedding{}, "layers" => [%QuantizedLinear{}, %LayerNorm{}, %QuantizedLinear{}]} =
             NN.quantize(model())
  end

  test "a quantized layer gives about what the layer gives" do
    layer = Linear.new(64, 8)
    x = wave({3, 64})
    quantized = QuantizedLinear.from_linear(layer, bits: 8)
    assert Mlx.to_number(Mlx.all_close(NN.forward(x, quantized), NN.forward(x, layer), atol: 0.02))
  end

  test "errors name the function" do
    assert_raise Mlx.Error, ~r/^Mlx.NN.quantize: /, fn -> NN.quantize([Linear.new(10, 10)]) end

    assert_raise ArgumentError, ~r/^Mlx.NN.quantize: expected :mode/, fn ->
      NN.quantize([Linear.new(64, 2)], mode: :int4)
    end

    assert_raise ArgumentError, ~r/^Mlx.NN.quantize: expected a function of 2/, fn -> NN.quantize([], where: true) end

    assert_raise ArgumentError, ~r/^Mlx.NN.quantize: unknown option :width/, fn ->
      NN.quantize(model(), where: fn _, _ -> [width: 2] end)
    end

    assert_raise Mlx.Error, ~r/^Mlx.NN.QuantizedLinear.new: /, fn -> QuantizedLinear.new(10, 10) end
  end

  describe "layers that quantize their input" do
    test "are made of linear layers without a bias" do
      model = [Linear.new(64, 32, bias: false), LayerNorm.new(32)]
      assert [%QQLinear{mode: :mxfp8, bits: 8}, %LayerNorm{}] = NN.quantize(model, mode: :mxfp8, quantize_input: true)
      settings = [mode: :nvfp4, quantize_input: true]

      assert_raise ArgumentError, ~r/^Mlx.NN.quantize: expected a layer without a bias/, fn ->
        NN.quantize([Linear.new(64, 32)], settings)
      end

      assert_raise ArgumentError, ~r/^Mlx.NN.quantize: an embedding has no input/, fn ->
        NN.quantize([Embedding.new(2, 64)], settings)
      end

      assert_raise ArgumentError, ~r/^Mlx.NN.quantize: expected :mode to be one of \[:nvfp4/, fn ->
        NN.quantize(model, quantize_input: true)
      end
    end

    test "pack their weight for use, and unpack it for training" do
      layer = QQLinear.from_linear(Linear.new(64, 32, bias: false))
      {weight, scales} = Mlx.quantize(layer.weight, mode: :nvfp4)
      used = NN.eval(layer)
      assert [Mlx.to_list(used.weight), Mlx.to_list(used.scales)] == [Mlx.to_list(weight), Mlx.to_list(scales)]
      assert NN.eval(used) == used
      again = NN.train(used)
      assert {again.scales, again.training} == {nil, true}
      assert Mlx.to_list(again.weight) == Mlx.to_list(Mlx.dequantize(weight, scales, nil, mode: :nvfp4))
      assert NN.train(layer) == layer
      assert {[_weight], []} = {Tree.arrays(elem(NN.freeze(layer), 0)), Tree.arrays(elem(NN.freeze(used), 0))}
    end

    test "need another device than a CPU" do
      layer = QQLinear.new(64, 32)
      assert_raise Mlx.Error, fn -> Mlx.with_device(:cpu, fn -> Mlx.eval(NN.forward(wave({3, 64}), layer)) end) end
    end
  end
end
