defmodule Mlx.NNTest do
  use ExUnit.Case, async: true

  import Mlx.LayerOracle, only: [wave: 1, wave: 2]

  alias Mlx.{NN, Tree}
  alias Mlx.NN.{Activations, BatchNorm, Dropout, Embedding, LayerNorm, Linear, QuantizedLinear}

  doctest Mlx.NN

  defmodule Perceptron do
    @derive NN.Layer
    defstruct [:hidden, :output, rate: 0.1]

    def new(inputs, classes), do: %__MODULE__{hidden: Linear.new(inputs, 8), output: Linear.new(8, classes)}

    def call(%__MODULE__{hidden: hidden, output: output}, x) do
      x |> NN.forward(hidden) |> Activations.relu() |> NN.forward(output)
    end
  end

  defmodule Counter do
    @derive {NN.Layer, kept: [:counts], inspect: false}
    defstruct [:counts, :weight, training: true]

    def call(%__MODULE__{weight: weight}, x), do: Mlx.multiply(x, weight)
  end

  defp paths(container), do: for({path, _array} <- Tree.flatten(container), do: path)

  describe "layers" do
    test "are structs, functions and lists" do
      model = Perceptron.new(2, 3)
      x = wave({4, 2})
      expected = x |> NN.forward([model.hidden, &Activations.relu/1, model.output]) |> Mlx.to_list()
      assert x |> NN.forward(model) |> Mlx.to_list() == expected
      assert x |> NN.forward([]) |> Mlx.to_list() == Mlx.to_list(x)
      assert x |> NN.forward([[model]]) |> Mlx.to_list() == expected
    end

    test "that are none are refused" do
      assert_raise ArgumentError, ~r/^Mlx.NN.forward: expected a layer, .* got: :relu$/, fn -> NN.forward(1, :relu) end
      assert_raise ArgumentError, ~r/^Mlx.NN.forward: expected a layer/, fn -> NN.forward(1, &Mlx.add/2) end
      assert_raise ArgumentError, ~r/^Mlx.NN.Layer.call: expected a layer/, fn -> NN.forward(1, [1..2]) end

      assert_raise ArgumentError, ~r/^Mlx.NN.Layer.call: expected a function of one/, fn ->
        NN.forward(1, [&Mlx.add/2])
      end
    end

    test "are shown as a tree, without the elements of arrays" do
      assert inspect(Perceptron.new(2, 3), pretty: true) == """
             #Mlx.NNTest.Perceptron<
               hidden: #Mlx.NN.Linear<weight: f32[8][2], bias: f32[8]>,
               output: #Mlx.NN.Linear<weight: f32[3][8], bias: f32[3]>,
               rate: 0.1
             >\
             """

      assert inspect(%Counter{}) == "%Mlx.NNTest.Counter{counts: nil, weight: nil, training: true}"
    end

    test "have names under which they are saved and loaded, strictly" do
      model = Perceptron.new(2, 3)
      assert paths(model) == ["hidden.bias", "hidden.weight", "output.bias", "output.weight"]
      bytes = model |> Tree.flatten() |> Map.new() |> Mlx.IO.encode()
      loaded = bytes |> Mlx.IO.decode() |> Tree.unflatten(Perceptron.new(2, 3))
      x = wave({4, 2})
      assert Mlx.to_list(NN.forward(x, loaded)) == Mlx.to_list(NN.forward(x, model))

      assert_raise ArgumentError, ~r/no arrays at \["more"\]/, fn ->
        model |> Tree.flatten() |> Map.new() |> Map.put("more", x) |> Tree.unflatten(model)
      end
    end

    test "take inputs of their size, and say so" do
      for {layer, shape} <- [
            {Linear.new(3, 4), {2, 2}},
            {Linear.new(3, 4), {}},
            {LayerNorm.new(4), {2, 3}},
            {BatchNorm.new(4), {2, 3}},
            {NN.Conv2d.new(3, 4, 2), {1, 5, 5, 4}},
            {NN.Conv2d.new(3, 4, 2), {5, 5, 3}},
            {NN.GRU.new(3, 4), {2, 5, 4}},
            {NN.GRU.new(3, 4), {3}},
            {NN.MaxPool2d.new(3), {1, 2, 5, 1}},
            {NN.InstanceNorm.new(3), {2, 3}},
            {NN.Upsample.new({2, 2}), {1, 5, 3}},
            {NN.Upsample.new(0.1), {1, 5, 3}},
            {NN.Dropout2d.new(), {2, 3}},
            {NN.ALiBi.new(), {2, 3}}
          ] do
        name = "#{inspect(layer.__struct__)}.call: "
        error = assert_raise ArgumentError, fn -> NN.forward(Mlx.zeros(shape), layer) end
        assert String.starts_with?(error.message, name)
      end
    end

    test "are made of numbers that make sense" do
      for fun <- [
            fn -> Linear.new(0, 3) end,
            fn -> Dropout.new(p: 1) end,
            fn -> LayerNorm.new(3, eps: 0) end,
            fn -> NN.GroupNorm.new(2, 3) end,
            fn -> NN.Conv1d.new(3, 4, 2, feature_group_size: 2) end,
            fn -> NN.Conv2d.new(3, 4, {1, 2, 3}) end,
            fn -> NN.Conv2d.new(3, 4, 2, strides: 0) end,
            fn -> NN.Conv2d.new(3, 4, 2, padding: {1, 2, 3}) end,
            fn -> NN.ConvTranspose2d.new(3, 4, 2, padding: :same) end,
            fn -> NN.MaxPool2d.new(2, strides: 0) end,
            fn -> NN.MaxPool2d.new(2, padding: -1) end,
            fn -> NN.MultiHeadAttention.new(8, 3) end,
            fn -> NN.SinusoidalPositionalEncoding.new(3) end,
            fn -> NN.SinusoidalPositionalEncoding.new(0) end,
            fn -> NN.Upsample.new(0) end,
            fn -> NN.Upsample.new(2, mode: :nearest, antialias: true) end,
            fn -> NN.Upsample.new(2, mode: :linear, antialias: true, align_corners: true) end,
            fn -> NN.GELU.new(approx: :best) end,
            fn -> NN.RNN.new(2, 3, nonlinearity: :tanh) end,
            fn -> NN.QuantizedLinear.new(64, 2, mode: :int4) end,
            fn -> NN.QQLinear.new(64, 2, mode: :affine) end
          ] do
        error = assert_raise ArgumentError, fun
        assert error.message =~ ~r/^Mlx\.NN\.\w+\.new: expected /
      end
    end
  end

  test "convolutions are padded as the operation is" do
    x = wave({1, 6, 5, 2})

    for {padding, shape} <- [same: {1, 6, 5, 3}, valid: {1, 4, 3, 3}] do
      assert NN.forward(x, NN.Conv2d.new(2, 3, 3, padding: padding)).shape == shape
    end

    assert NN.forward(x, NN.Conv2d.new(2, 3, 3, padding: [{2, 0}, {0, 1}])).shape == {1, 6, 4, 3}
  end

  test "batches may be empty" do
    for {layer, shape} <- [
          {Linear.new(3, 4), {0, 3}},
          {NN.GroupNorm.new(1, 3), {0, 5, 3}},
          {NN.GroupNorm.new(1, 3, pytorch_compatible: true), {0, 5, 3}},
          {NN.InstanceNorm.new(3), {0, 5, 3}},
          {NN.MaxPool1d.new(2), {0, 4, 3}},
          {NN.Upsample.new(2, mode: :linear), {0, 4, 3}},
          {NN.MultiHeadAttention.new(4, 2), {0, 5, 4}},
          {NN.LSTM.new(3, 4), {0, 5, 3}}
        ] do
      for array <- Tree.arrays(NN.forward(Mlx.zeros(shape), layer)), do: assert(elem(Mlx.eval(array).shape, 0) == 0)
    end
  end

  test "the mode is that of a copy" do
    model = %{a: [Dropout.new(), %Counter{}], b: BatchNorm.new(2)}
    used = NN.eval(model)
    assert [false, false, false] == for(layer <- [used.b | used.a], do: layer.training)
    assert [true, true, true] == for(layer <- [model.b | model.a], do: layer.training)
    assert NN.train(used) == model
  end

  describe "what is trained" do
    test "is not what layers keep, nor integers" do
      model = %{
        norm: BatchNorm.new(2),
        counter: %Counter{counts: Mlx.zeros({2}), weight: Mlx.ones({2})},
        quantized: QuantizedLinear.from_linear(Linear.new(64, 2)),
        steps: Mlx.array(3)
      }

      {trained, frozen} = NN.freeze(model)
      assert paths(trained) == ["counter.weight", "norm.bias", "norm.weight", "quantized.bias"]
      assert Tree.merge(trained, frozen) == model
      {trained, _frozen} = NN.unfreeze({trained, frozen}, "")
      assert paths(trained) == ["counter.weight", "norm.bias", "norm.weight", "quantized.bias"]
    end

    test "is chosen by path, pattern, layer, function, or a list of them" do
      model = %{embed: Embedding.new(5, 2), layers: [Linear.new(2, 2), LayerNorm.new(2)], layers2: Linear.new(2, 2)}
      chosen = fn selection -> model |> NN.freeze(selection) |> elem(1) |> paths() end
      assert chosen.("layers") == ["layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"]
      assert chosen.("layers.1.bias") == ["layers.1.bias"]
      assert chosen.(~r/bias$/) == ["layers.0.bias", "layers.1.bias", "layers2.bias"]
      assert chosen.(LayerNorm) == ["layers.1.bias", "layers.1.weight"]

      assert chosen.(fn _path, array -> Mlx.rank(array) == 2 end) == [
               "embed.weight",
               "layers.0.weight",
               "layers2.weight"
             ]

      assert chosen.([Embedding, ["layers2.bias"]]) == ["embed.weight", "layers2.bias"]
      assert chosen.("") == paths(model)
      assert chosen.([]) == []
    end

    test "is chosen from what is there" do
      model = [Linear.new(2, 2)]
      assert_raise ArgumentError, ~s(Mlx.NN.freeze: the model has no arrays at "1"), fn -> NN.freeze(model, "1") end

      assert_raise ArgumentError, "Mlx.NN.freeze: the model has no layer Mlx.NN.Embedding", fn ->
        NN.freeze(model, Embedding)
      end

      assert_raise ArgumentError, ~r/^Mlx.NN.freeze: expected a path, .* got: 1$/, fn -> NN.freeze(model, 1) end

      assert_raise ArgumentError, ~s(Mlx.NN.unfreeze: the model has no arrays at "1"), fn ->
        model |> NN.freeze("0") |> NN.unfreeze("1")
      end
    end

    test "has gradients, and nothing else has" do
      model = [Linear.new(64, 64), Linear.new(64, 2)] |> NN.quantize(where: fn path, _layer -> path == "0" end)
      loss = fn model, x -> Mlx.sum(NN.forward(x, model)) end
      {_value, gradients, ^model} = NN.value_and_grad(loss).(model, wave({3, 64}))
      assert paths(gradients) == ["0.bias", "1.bias", "1.weight"]
      {_value, gradients, ^model} = NN.value_and_grad(loss, frozen: "1").(model, wave({3, 64}))
      assert paths(gradients) == ["0.bias"]

      assert_raise ArgumentError, "Mlx.NN.value_and_grad: the arguments to differentiate hold no arrays", fn ->
        NN.value_and_grad(loss, frozen: "").(model, wave({3, 64}))
      end

      assert_raise ArgumentError, ~r/^Mlx.NN.value_and_grad: expected a function that returns a scalar first/, fn ->
        NN.value_and_grad(fn model, x -> NN.forward(x, model) end).(model, wave({3, 64}))
      end
    end

    test "may come with other results" do
      loss = fn model, x ->
        y = NN.forward(x, model)
        {Mlx.sum(y), %{output: y}}
      end

      {{sum, %{output: y}}, _gradients, _model} = NN.value_and_grad(loss).(Linear.new(2, 3), wave({4, 2}))
      assert Mlx.to_number(sum) == Mlx.to_number(Mlx.sum(y))
    end
  end

  test "layers are replaced by path and layer, inner ones first" do
    model = %{layers: [Linear.new(2, 2), [Linear.new(2, 3)]], rate: 0.5, norm: LayerNorm.new(3)}
    seen = fn path, layer -> send(self(), path) && layer end
    assert NN.map_layers(model, seen) == model
    assert for(_ <- 1..3, do: receive(do: (path -> path))) == ["layers.0", "layers.1.0", "norm"]

    assert %{layers: [:linear, [:linear]], norm: %LayerNorm{}} =
             NN.map_layers(model, &if(is_struct(&2, Linear), do: :linear, else: &1 && &2))

    assert for({path, _layer} <- NN.layers(Perceptron.new(2, 2)), do: path) == ["hidden", "output", ""]
  end

  test "a low-rank adapter is a few lines on it" do
    model = Perceptron.new(4, 3)

    adapted =
      NN.map_layers(model, fn
        _path, %Linear{weight: %{shape: {outputs, inputs}}} = layer ->
          %{layer: layer, a: wave({2, inputs}), b: Mlx.zeros({outputs, 2})}

        _path, layer ->
          layer
      end)

    {trained, _frozen} = NN.freeze(adapted, ~r/layer\./)
    assert paths(trained) == ["hidden.a", "hidden.b", "output.a", "output.b"]
  end

  test "parameters are counted" do
    assert NN.parameter_count(Perceptron.new(4, 3)) == %{trained: 4 * 8 + 8 + 8 * 3 + 3, kept: 0, bytes: 67 * 4}
    assert NN.parameter_count(Perceptron.new(4, 3), frozen: "hidden") == %{trained: 27, kept: 40, bytes: 67 * 4}
  end

  test "models have another type when their arrays do" do
    model = Tree.map(Perceptron.new(4, 3), &Mlx.as_type(&1, :bf16))
    assert NN.forward(wave({2, 4}, :bf16), model).type == :bf16
  end
end
