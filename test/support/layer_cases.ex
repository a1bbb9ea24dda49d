defmodule Mlx.LayerCases do
  @moduledoc """
  Layers, activation functions, losses and initializers with what they are in Python: the cases in which
  `Mlx.NN.CasesTest` compares them. It also sees to it that no name of Python is missing.
  """

  import Mlx.LayerOracle, only: [wave: 1, wave: 2, wave: 3]

  alias Mlx.NN
  alias Mlx.NN.{Activations, Init, Losses}

  @doc "Python's names, how to make the layer here and there, its inputs, and options of `Mlx.LayerOracle.assert_layer/4`."
  def layers do
    linear() ++
      activation_layers() ++
      normalisations() ++
      dropouts() ++
      convolutions() ++
      pools() ++
      recurrent() ++ attention() ++ positional() ++ quantized() ++ sharded() ++ upsampling()
  end

  # In a group of one process. See `Mlx.NN.ShardingTest` for several.
  defp sharded do
    {x, wide} = {wave({2, 3}), wave({3, 64})}

    for {name, make} <- [
          {"AllToShardedLinear", &NN.AllToShardedLinear.new/3},
          {"ShardedToAllLinear", &NN.ShardedToAllLinear.new/3}
        ],
        {options, python} <- [{[], ""}, {[bias: false], ", bias=False"}] do
      {name, fn -> make.(3, 4, options) end, "nn.#{name}(3, 4#{python})", [x], []}
    end ++
      for {name, make} <- [
            {"QuantizedAllToShardedLinear", &NN.QuantizedAllToShardedLinear.new/3},
            {"QuantizedShardedToAllLinear", &NN.QuantizedShardedToAllLinear.new/3}
          ],
          {options, python} <- [{[bias: false], ", False"}, {[bias: false, mode: :mxfp8], ", False, 32, 8, 'mxfp8'"}] do
        {name, fn -> make.(64, 32, options) end, "nn.#{name}(64, 32#{python})", [wide], as_made: true}
      end ++
      [
        {"FullyShardedModule", fn -> NN.FullyShardedModule.new(NN.Linear.new(3, 4)) end,
         "nn.FullyShardedModule(nn.Linear(3, 4))", [x], []},
        {"FullyShardedModule", fn -> NN.FullyShardedModule.new(NN.Embedding.new(5, 3)) end,
         "nn.FullyShardedModule(nn.Embedding(5, 3))", [x],
         call: {fn layer, [x] -> NN.FullyShardedModule.as_linear(layer, x) end, "lambda l, x: l.as_linear(x)"}}
      ]
  end

  defp linear do
    [
      {"Linear", fn -> NN.Linear.new(3, 4) end, "nn.Linear(3, 4)", [wave({2, 5, 3})], []},
      {"Linear", fn -> NN.Linear.new(3, 4, bias: false) end, "nn.Linear(3, 4, bias=False)", [wave({2, 3})], []},
      {"Bilinear", fn -> NN.Bilinear.new(3, 4, 5) end, "nn.Bilinear(3, 4, 5)", [wave({2, 6, 3}), wave({2, 6, 4})], []},
      {"Bilinear", fn -> NN.Bilinear.new(3, 4, 5, bias: false) end, "nn.Bilinear(3, 4, 5, bias=False)",
       [wave({2, 3}), wave({2, 4})], []},
      {"Identity", &NN.Identity.new/0, "nn.Identity()", [wave({2, 3})], []},
      {"Sequential", fn -> NN.Sequential.new([NN.Linear.new(3, 4), &Activations.relu/1, NN.Linear.new(4, 2)]) end,
       "nn.Sequential(nn.Linear(3, 4), nn.relu, nn.Linear(4, 2))", [wave({2, 3})], []}
    ]
  end

  defp normalisations do
    {x, image} = {wave({5, 4}), wave({2, 3, 5, 4})}

    [
      {"Embedding", fn -> NN.Embedding.new(5, 3) end, "nn.Embedding(5, 3)", [Mlx.array([[0, 4, 2], [1, 1, 0]])], []},
      {"Embedding", fn -> NN.Embedding.new(5, 3) end, "nn.Embedding(5, 3)", [wave({2, 3})],
       call: {fn layer, [x] -> NN.Embedding.as_linear(layer, x) end, "lambda l, x: l.as_linear(x)"}},
      {"LayerNorm", fn -> NN.LayerNorm.new(4) end, "nn.LayerNorm(4)", [x], []},
      {"LayerNorm", fn -> NN.LayerNorm.new(4, eps: 0.1, bias: false) end, "nn.LayerNorm(4, 0.1, bias=False)", [image],
       []},
      {"LayerNorm", fn -> NN.LayerNorm.new(4, affine: false) end, "nn.LayerNorm(4, affine=False)", [x], []},
      {"RMSNorm", fn -> NN.RMSNorm.new(4, eps: 0.01) end, "nn.RMSNorm(4, 0.01)", [x], []},
      {"InstanceNorm", fn -> NN.InstanceNorm.new(4) end, "nn.InstanceNorm(4)", [image], []},
      {"InstanceNorm", fn -> NN.InstanceNorm.new(4, affine: true) end, "nn.InstanceNorm(4, affine=True)",
       [wave({2, 5, 4})], []},
      {"GroupNorm", fn -> NN.GroupNorm.new(2, 4) end, "nn.GroupNorm(2, 4)", [image], []},
      {"GroupNorm", fn -> NN.GroupNorm.new(2, 4, pytorch_compatible: true) end,
       "nn.GroupNorm(2, 4, pytorch_compatible=True)", [image], []},
      {"GroupNorm", fn -> NN.GroupNorm.new(2, 4, affine: false, eps: 0.1) end, "nn.GroupNorm(2, 4, 0.1, affine=False)",
       [x], []}
    ] ++
      for train <- [true, false], x <- [x, image, wave({2, 3, 4})] do
        {"BatchNorm", fn -> NN.BatchNorm.new(4) end, "nn.BatchNorm(4)", [x], train: train}
      end ++
      for train <- [true, false] do
        {"BatchNorm", fn -> NN.BatchNorm.new(4, momentum: 0.3, eps: 0.1, affine: false) end,
         "nn.BatchNorm(4, 0.1, 0.3, affine=False)", [x], train: train}
      end ++
      for train <- [true, false] do
        {"BatchNorm", fn -> NN.BatchNorm.new(4, track_running_stats: false) end,
         "nn.BatchNorm(4, track_running_stats=False)", [x], train: train}
      end
  end

  defp dropouts do
    for {name, x} <- [
          {"Dropout", wave({5, 4})},
          {"Dropout2d", wave({2, 3, 3, 4})},
          {"Dropout3d", wave({2, 2, 3, 3, 4})}
        ],
        {options, python} <- [{[], ""}, {[p: 0.2], "0.2"}, {[p: 0], "0"}],
        train <- [true, false] do
      {name, fn -> apply(Module.concat(NN, name), :new, [options]) end, "nn.#{name}(#{python})", [x],
       train: train, call: {&seeded/2, "lambda layer, x: [mx.random.seed(3), layer(x)][1]"}}
    end
  end

  defp seeded(layer, [x]) do
    Mlx.Random.seed(3)
    NN.forward(x, layer)
  end

  # On a CPU, convolutions of this library add up in another order than MLX's.
  @share_of_sums 1.0e-5

  defp convolutions do
    {one, two, three} = {wave({2, 7, 4}), wave({2, 7, 6, 4}), wave({2, 5, 4, 4, 4})}

    for(
      {axes, x} <- [{1, one}, {2, two}, {3, three}],
      kind <- ["Conv", "ConvTranspose"],
      {options, python} <- [
        {[], ""},
        {[strides: 2, padding: 1, bias: false], ", stride=2, padding=1, bias=False"},
        {[kernel_dilation: 2, padding: 2], ", dilation=2, padding=2"}
      ],
      do:
        {"#{kind}#{axes}d", fn -> apply(Module.concat(NN, "#{kind}#{axes}d"), :new, [4, 6, 3, options]) end,
         "nn.#{kind}#{axes}d(4, 6, 3#{python})", [x], share: @share_of_sums}
    ) ++
      [
        {"Conv1d", fn -> NN.Conv1d.new(4, 6, 3, feature_group_size: 2) end, "nn.Conv1d(4, 6, 3, groups=2)", [one], []},
        {"Conv2d", fn -> NN.Conv2d.new(4, 6, {3, 2}, strides: {1, 2}, padding: [0, 1], feature_group_size: 2) end,
         "nn.Conv2d(4, 6, (3, 2), (1, 2), (0, 1), groups=2)", [two], []},
        # The gradients of these have another shape than the input in Python.
        {"ConvTranspose1d", fn -> NN.ConvTranspose1d.new(4, 6, 3, strides: 2, output_padding: 1) end,
         "nn.ConvTranspose1d(4, 6, 3, 2, output_padding=1)", [one], gradients: false, share: @share_of_sums},
        {"ConvTranspose2d", fn -> NN.ConvTranspose2d.new(4, 6, {3, 2}, strides: 2, output_padding: [1, 0]) end,
         "nn.ConvTranspose2d(4, 6, (3, 2), 2, output_padding=(1, 0))", [two], gradients: false, share: @share_of_sums}
      ]
  end

  defp pools do
    for {axes, x} <- [{1, wave({2, 8, 3})}, {2, wave({2, 6, 8, 3})}, {3, wave({2, 6, 4, 8, 3})}],
        kind <- ["MaxPool", "AvgPool"],
        {size, options, python} <- [
          {2, [], "2"},
          {3, [], "3"},
          {3, [strides: 2, padding: 1], "3, 2, 1"},
          {List.to_tuple(Enum.to_list(1..axes)), [strides: 1], "#{python_tuple(Enum.to_list(1..axes))}, 1"}
        ] do
      {"#{kind}#{axes}d", fn -> apply(Module.concat(NN, "#{kind}#{axes}d"), :new, [size, options]) end,
       "nn.#{kind}#{axes}d(#{python})", [x], ulps: 1}
    end
  end

  defp python_tuple(sizes), do: "(#{Enum.join(sizes, ", ")},)"

  defp recurrent do
    x = wave({2, 5, 3})
    {hidden, cell} = {wave({2, 4}, :f32, 3), wave({2, 4}, :f32, 9)}

    for(
      {name, options, python} <- [
        {"RNN", [], "nn.RNN(3, 4)"},
        {"RNN", [bias: false, nonlinearity: &Activations.relu/1], "nn.RNN(3, 4, False, nn.relu)"},
        {"GRU", [], "nn.GRU(3, 4)"},
        {"GRU", [bias: false], "nn.GRU(3, 4, False)"},
        {"LSTM", [], "nn.LSTM(3, 4)"},
        {"LSTM", [bias: false], "nn.LSTM(3, 4, False)"}
      ],
      module = Module.concat(NN, name),
      {inputs, call} <- [
        {[x], {fn layer, [x] -> module.call(layer, x) end, "lambda l, x: l(x)"}},
        {[x[0]], {fn layer, [x] -> module.call(layer, x) end, "lambda l, x: l(x)"}},
        {[x, hidden], {fn layer, [x, hidden] -> module.call(layer, x, hidden: hidden) end, "lambda l, x, h: l(x, h)"}}
      ],
      do: {name, fn -> module.new(3, 4, options) end, python, inputs, call: call}
    ) ++
      [
        {"LSTM", fn -> NN.LSTM.new(3, 4) end, "nn.LSTM(3, 4)", [x, hidden, cell],
         call:
           {fn layer, [x, hidden, cell] -> NN.LSTM.call(layer, x, hidden: hidden, cell: cell) end,
            "lambda l, x, h, c: l(x, h, c)"}}
      ]
  end

  defp attention do
    {x, memory} = {wave({2, 5, 8}), wave({2, 3, 8}, :f32, 3)}
    small = [dims: 8, num_heads: 2, num_encoder_layers: 1, num_decoder_layers: 2, mlp_dims: 12]
    python_small = "8, 2, 1, 2, 12"

    attend = fn mask, python ->
      {&NN.MultiHeadAttention.call(&1, hd(&2), hd(&2), hd(&2), mask: mask), "lambda l, x: l(x, x, x, #{python})"}
    end

    encode = fn module, mask, python -> {&module.call(&1, hd(&2), mask: mask), "lambda l, x: l(x, #{python})"} end

    decode = fn module, mask, memory_mask, python ->
      {fn layer, [x, memory] -> module.call(layer, x, memory, mask: mask, memory_mask: memory_mask) end,
       "lambda l, x, m: l(x, m, #{python})"}
    end

    causal = NN.MultiHeadAttention.create_additive_causal_mask(5)
    python_causal = "nn.MultiHeadAttention.create_additive_causal_mask(5)"

    [
      {"MultiHeadAttention", fn -> NN.MultiHeadAttention.new(8, 2) end, "nn.MultiHeadAttention(8, 2)", [x],
       call: attend.(nil, "None")},
      {"MultiHeadAttention", fn -> NN.MultiHeadAttention.new(8, 2, bias: true) end,
       "nn.MultiHeadAttention(8, 2, bias=True)", [x], call: attend.(causal, python_causal)},
      {"MultiHeadAttention", fn -> NN.MultiHeadAttention.new(8, 4) end, "nn.MultiHeadAttention(8, 4)", [x],
       call: attend.(:causal, "'causal'")},
      {"MultiHeadAttention",
       fn ->
         NN.MultiHeadAttention.new(8, 2,
           query_input_dims: 8,
           key_input_dims: 6,
           value_input_dims: 5,
           value_dims: 4,
           value_output_dims: 3
         )
       end, "nn.MultiHeadAttention(8, 2, 8, 6, 5, 4, 3)", [x, wave({2, 3, 6}), wave({2, 3, 5})], []},
      {"TransformerEncoderLayer", fn -> NN.TransformerEncoderLayer.new(8, 2) end, "nn.TransformerEncoderLayer(8, 2)",
       [x], call: encode.(NN.TransformerEncoderLayer, nil, "None")},
      {"TransformerEncoderLayer",
       fn -> NN.TransformerEncoderLayer.new(8, 2, mlp_dims: 12, activation: &Activations.gelu/1, norm_first: false) end,
       "nn.TransformerEncoderLayer(8, 2, 12, activation=nn.gelu, norm_first=False)", [x],
       call: encode.(NN.TransformerEncoderLayer, causal, python_causal)},
      {"TransformerEncoder", fn -> NN.TransformerEncoder.new(2, 8, 2) end, "nn.TransformerEncoder(2, 8, 2)", [x],
       call: encode.(NN.TransformerEncoder, :causal, "'causal'")},
      {"TransformerEncoder", fn -> NN.TransformerEncoder.new(2, 8, 2, checkpoint: true) end,
       "nn.TransformerEncoder(2, 8, 2, checkpoint=True)", [x], call: encode.(NN.TransformerEncoder, nil, "None")},
      {"TransformerDecoderLayer", fn -> NN.TransformerDecoderLayer.new(8, 2) end, "nn.TransformerDecoderLayer(8, 2)",
       [x, memory], call: decode.(NN.TransformerDecoderLayer, nil, nil, "None, None")},
      {"TransformerDecoderLayer", fn -> NN.TransformerDecoderLayer.new(8, 2, norm_first: false) end,
       "nn.TransformerDecoderLayer(8, 2, norm_first=False)", [x, memory],
       call: decode.(NN.TransformerDecoderLayer, causal, nil, "#{python_causal}, None")},
      {"TransformerDecoder", fn -> NN.TransformerDecoder.new(2, 8, 2, mlp_dims: 12) end,
       "nn.TransformerDecoder(2, 8, 2, 12)", [x, memory],
       call: decode.(NN.TransformerDecoder, :causal, nil, "'causal', None")},
      {"TransformerDecoder", fn -> NN.TransformerDecoder.new(2, 8, 2, checkpoint: true) end,
       "nn.TransformerDecoder(2, 8, 2, checkpoint=True)", [x, memory],
       call: decode.(NN.TransformerDecoder, nil, nil, "None, None")},
      {"Transformer", fn -> NN.Transformer.new(small) end, "nn.Transformer(#{python_small})", [memory, x],
       call:
         {fn model, [source, target] -> NN.Transformer.call(model, source, target, target_mask: :causal) end,
          "lambda l, s, t: l(s, t, None, 'causal', None)"}},
      {"Transformer", fn -> NN.Transformer.new(small ++ [norm_first: false, dropout: 0.1]) end,
       "nn.Transformer(#{python_small}, 0.1, norm_first=False)", [memory, x],
       train: false, call: {&NN.Layer.call(&1, List.to_tuple(&2)), "lambda l, s, t: l(s, t, None, None, None)"}}
    ]
  end

  defp positional do
    x = wave({2, 3, 5, 8})
    positions = Mlx.array([0.0, 1.0, 2.5, 100.0])

    sinusoids = [
      {8, [], "8"},
      {2, [], "2"},
      {8, [min_freq: 0.01, max_freq: 2, scale: 1, cos_first: true, full_turns: true], "8, 0.01, 2, 1, True, True"}
    ]

    [
      {"RoPE", fn -> NN.RoPE.new(8) end, "nn.RoPE(8)", [x], []},
      {"RoPE", fn -> NN.RoPE.new(4, traditional: true, base: 100, scale: 0.5) end, "nn.RoPE(4, True, 100, 0.5)", [x],
       call: {fn layer, [x] -> NN.RoPE.call(layer, x, offset: 7) end, "lambda l, x: l(x, offset=7)"}},
      {"ALiBi", &NN.ALiBi.new/0, "nn.ALiBi()", [wave({2, 8, 3, 5})], []},
      {"ALiBi", &NN.ALiBi.new/0, "nn.ALiBi()", [wave({2, 6, 3, 5}, :f16), wave({3, 5}, :f16)],
       call:
         {fn layer, [x, mask] -> NN.ALiBi.call(layer, x, offset: 2, mask: mask) end,
          "lambda l, x, mask: l(x, offset=2, mask=mask)"}}
    ] ++
      for {dims, options, python} <- sinusoids do
        {"SinusoidalPositionalEncoding", fn -> NN.SinusoidalPositionalEncoding.new(dims, options) end,
         "nn.SinusoidalPositionalEncoding(#{python})", [positions], []}
      end
  end

  defp quantized do
    {x, tokens} = {wave({3, 64}), Mlx.array([[0, 4], [2, 2]])}

    modes = [
      {[], ""},
      {[group_size: 32, bits: 8], "32, 8"},
      {[mode: :mxfp4], "mode='mxfp4'"},
      {[mode: :nvfp4], "mode='nvfp4'"}
    ]

    Enum.flat_map(modes, fn {options, python} ->
      [
        {"QuantizedLinear", fn -> NN.QuantizedLinear.from_linear(NN.Linear.new(64, 32), options) end,
         "nn.QuantizedLinear.from_linear(nn.Linear(64, 32), #{python})", [x], as_made: true},
        {"QuantizedLinear", fn -> NN.QuantizedLinear.new(64, 32, [bias: false] ++ options) end,
         "nn.QuantizedLinear(64, 32, False, #{python})", [x], as_made: true},
        {"QuantizedEmbedding", fn -> NN.QuantizedEmbedding.new(5, 64, options) end,
         "nn.QuantizedEmbedding(5, 64, #{python})", [tokens], as_made: true},
        {"QuantizedEmbedding", fn -> NN.QuantizedEmbedding.from_embedding(NN.Embedding.new(5, 64), options) end,
         "nn.QuantizedEmbedding.from_embedding(nn.Embedding(5, 64), #{python})", [x],
         as_made: true, call: {&NN.QuantizedEmbedding.as_linear(&1, hd(&2)), "lambda l, x: l.as_linear(x)"}}
      ]
    end)
  end

  defp upsampling do
    {one, two, three} = {wave({2, 7, 3}), wave({2, 5, 4, 3}), wave({1, 3, 4, 3, 2})}
    interpolated = for mode <- [:linear, :cubic], factor <- [2, 1.7, 0.6], do: {mode, factor}

    for(
      {factor, x} <- [{2, one}, {2, two}, {2, three}, {1.5, one}, {0.6, two}],
      do: {"Upsample", fn -> NN.Upsample.new(factor) end, "nn.Upsample(#{factor})", [x], []}
    ) ++
      for(
        {mode, factor} <- interpolated,
        {options, python} <- [
          {[], ""},
          {[align_corners: true], ", align_corners=True"},
          {[antialias: true], ", antialias=True"}
        ],
        x <- [one, two],
        do:
          {"Upsample", fn -> NN.Upsample.new(factor, [mode: mode] ++ options) end,
           "nn.Upsample(#{factor}, '#{mode}'#{python})", [x], []}
      ) ++
      [
        {"Upsample", fn -> NN.Upsample.new({2, 3}) end, "nn.Upsample((2, 3))", [two], []},
        {"Upsample", fn -> NN.Upsample.new({1.5, 3}, mode: :linear) end, "nn.Upsample((1.5, 3), 'linear')", [two], []}
      ]
  end

  defp activation_layers do
    x = [wave({3, 4})]

    for(
      name <-
        ~w(Hardswish LogSigmoid LogSoftmax Mish ReLU ReLU2 ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus) ++
          ~w(Softsign Tanh CELU ELU GLU HardShrink HardTanh LeakyReLU Softshrink Step GELU PReLU),
      do: {name, fn -> apply(Module.concat(NN, name), :new, []) end, "nn.#{name}()", x, []}
    ) ++
      [
        {"CELU", fn -> NN.CELU.new(alpha: 0.3) end, "nn.CELU(0.3)", x, []},
        {"ELU", fn -> NN.ELU.new(alpha: 0.3) end, "nn.ELU(0.3)", x, []},
        {"GLU", fn -> NN.GLU.new(axis: 0) end, "nn.GLU(0)", [wave({4, 3})], []},
        {"HardShrink", fn -> NN.HardShrink.new(lambda: 1.0) end, "nn.HardShrink(1.0)", x, []},
        {"LeakyReLU", fn -> NN.LeakyReLU.new(negative_slope: 0.2) end, "nn.LeakyReLU(0.2)", x, []},
        {"Softshrink", fn -> NN.Softshrink.new(lambda: 1.0) end, "nn.Softshrink(1.0)", x, []},
        {"Step", fn -> NN.Step.new(threshold: 0.5) end, "nn.Step(0.5)", x, []},
        {"PReLU", fn -> NN.PReLU.new(num_parameters: 4, init: 0.1) end, "nn.PReLU(4, 0.1)", x, []}
      ] ++
      for(
        approx <- [:none, :precise, :tanh, :fast],
        do: {"GELU", fn -> NN.GELU.new(approx: approx) end, "nn.GELU('#{approx}')", x, []}
      )
  end

  @doc "Activation functions of Python, with the function here and there."
  def activations do
    for(
      name <-
        ~w(celu elu gelu gelu_approx gelu_fast_approx glu hard_shrink hard_tanh hardswish leaky_relu log_sigmoid) ++
          ~w(log_softmax mish relu relu2 relu6 selu sigmoid silu softmax softmin softplus softshrink softsign) ++
          ~w(step tanh),
      do: {name, &apply(Activations, String.to_atom(name), &1), "nn.#{name}"}
    ) ++
      [
        {"celu", fn [x] -> Activations.celu(x, alpha: 0.5) end, "lambda x: nn.celu(x, 0.5)"},
        {"elu", fn [x] -> Activations.elu(x, alpha: 0.5) end, "lambda x: nn.elu(x, 0.5)"},
        {"glu", fn [x] -> Activations.glu(x, axis: 0) end, "lambda x: nn.glu(x, 0)"},
        {"hard_shrink", fn [x] -> Activations.hard_shrink(x, lambda: 0.2) end, "lambda x: nn.hard_shrink(x, 0.2)"},
        {"hard_tanh", fn [x] -> Activations.hard_tanh(x, min: -0.5, max: 0.2) end,
         "lambda x: nn.hard_tanh(x, -0.5, 0.2)"},
        {"leaky_relu", fn [x] -> Activations.leaky_relu(x, negative_slope: 0.3) end, "lambda x: nn.leaky_relu(x, 0.3)"},
        {"log_softmax", fn [x] -> Activations.log_softmax(x, axis: 0) end, "lambda x: nn.log_softmax(x, 0)"},
        {"softmax", fn [x] -> Activations.softmax(x, axis: 0) end, "lambda x: nn.softmax(x, 0)"},
        {"softmin", fn [x] -> Activations.softmin(x, axis: 0) end, "lambda x: nn.softmin(x, 0)"},
        {"softshrink", fn [x] -> Activations.softshrink(x, lambda: 0.2) end, "lambda x: nn.softshrink(x, 0.2)"},
        {"step", fn [x] -> Activations.step(x, threshold: 0.2) end, "lambda x: nn.step(x, 0.2)"},
        {"prelu", fn [x] -> Activations.prelu(x, wave({4})) end,
         "lambda x: nn.prelu(x, mx.sin(mx.arange(4) * mx.array(0.7)) * 1.5)"}
      ]
  end

  @doc "Losses of Python, with the function here and there, and the inputs."
  def losses do
    {x, y} = {wave({4, 3}), wave({4, 3}, :f32, 20)}
    indices = Mlx.array([2, 0, 1, 1])
    signs = Mlx.select(Mlx.greater(wave({4, 3}, :f32, 9), 0), 1, -1)
    probabilities = [Activations.softmax(x), Activations.softmax(y)]

    for(
      {reduction, name} <- [none: "none", mean: "mean", sum: "sum"],
      {loss, inputs} <- [
        binary_cross_entropy: [x, Mlx.sigmoid(y)],
        cosine_similarity_loss: [x, y],
        cross_entropy: [x, indices],
        gaussian_nll_loss: [x, y, Mlx.square(wave({4, 3}, :f32, 5))],
        hinge_loss: [x, signs],
        huber_loss: [x, y],
        kl_div_loss: Enum.map(probabilities, &Mlx.log/1),
        l1_loss: [x, y],
        log_cosh_loss: [x, y],
        margin_ranking_loss: [x, y, signs],
        mse_loss: [x, y],
        nll_loss: [x, indices],
        smooth_l1_loss: [x, y],
        triplet_loss: [x, y, wave({4, 3}, :f32, 40)]
      ],
      do:
        {"#{loss}", &apply(Losses, loss, &1 ++ [[reduction: reduction]]),
         "lambda *inputs: nn.losses.#{loss}(*inputs, reduction='#{name}')", inputs}
    ) ++
      [
        {"cross_entropy", fn [x, y] -> Losses.cross_entropy(x, y, label_smoothing: 0.2) end,
         "lambda x, y: nn.losses.cross_entropy(x, y, label_smoothing=0.2)", [x, indices]},
        {"cross_entropy", fn [x, y] -> Losses.cross_entropy(x, y) end, "nn.losses.cross_entropy",
         [x, hd(probabilities)]},
        {"cross_entropy", fn [x, y, w] -> Losses.cross_entropy(x, y, weights: w, axis: 0) end,
         "lambda x, y, w: nn.losses.cross_entropy(x, y, weights=w, axis=0)", [x, Mlx.array([3, 0, 1]), wave({3})]},
        {"cross_entropy", fn [x, y] -> Losses.cross_entropy(x, y) end, "nn.losses.cross_entropy",
         [wave({4, 3}, :bf16), indices]},
        {"binary_cross_entropy", fn [x, y, w] -> Losses.binary_cross_entropy(x, y, weights: w) end,
         "nn.losses.binary_cross_entropy", [x, Mlx.sigmoid(y), wave({4, 3}, :f32, 2)]},
        {"binary_cross_entropy", fn [x, y] -> Losses.binary_cross_entropy(x, y, with_logits: false) end,
         "lambda x, y: nn.losses.binary_cross_entropy(x, y, with_logits=False)", probabilities},
        {"gaussian_nll_loss", fn [x, y, v] -> Losses.gaussian_nll_loss(x, y, v, full: true, eps: 0.5) end,
         "lambda x, y, v: nn.losses.gaussian_nll_loss(x, y, v, full=True, eps=0.5)",
         [x, y, Mlx.square(wave({4, 3}, :f32, 5))]},
        {"nll_loss", fn [x, y] -> Losses.nll_loss(x, y, axis: 0) end, "lambda x, y: nn.losses.nll_loss(x, y, 0)",
         [x, Mlx.array([3, 0, 1])]},
        {"smooth_l1_loss", fn [x, y] -> Losses.smooth_l1_loss(x, y, beta: 0.5) end,
         "lambda x, y: nn.losses.smooth_l1_loss(x, y, 0.5)", [x, y]},
        {"triplet_loss", fn [a, p, n] -> Losses.triplet_loss(a, p, n, axis: 0, p: 3, margin: 0.4) end,
         "lambda a, p, n: nn.losses.triplet_loss(a, p, n, axis=0, p=3, margin=0.4)", [x, y, wave({4, 3}, :f32, 40)]},
        {"huber_loss", fn [x, y] -> Losses.huber_loss(x, y, delta: 0.3) end,
         "lambda x, y: nn.losses.huber_loss(x, y, 0.3)", [x, y]},
        {"margin_ranking_loss", fn [x, y, t] -> Losses.margin_ranking_loss(x, y, t, margin: 0.3) end,
         "lambda x, y, t: nn.losses.margin_ranking_loss(x, y, t, 0.3)", [x, y, signs]},
        {"cosine_similarity_loss", fn [x, y] -> Losses.cosine_similarity_loss(x, y, axis: 0) end,
         "lambda x, y: nn.losses.cosine_similarity_loss(x, y, axis=0)", [x, y]},
        {"kl_div_loss", fn [x, y] -> Losses.kl_div_loss(x, y, axis: 0) end,
         "lambda x, y: nn.losses.kl_div_loss(x, y, 0)", Enum.map(probabilities, &Mlx.log/1)}
      ]
  end

  @doc "Initializers of Python, here and there, with the shape of what they initialize."
  def initializers do
    [
      {"constant", Init.constant(0.5), "nn.init.constant(0.5)", {3, 4}},
      {"normal", Init.normal(), "nn.init.normal()", {3, 4}},
      {"normal", Init.normal(mean: 2.0, std: 0.1, type: :bf16), "nn.init.normal(2.0, 0.1, mx.bfloat16)", {5}},
      {"uniform", Init.uniform(low: -2.0, high: 3.0), "nn.init.uniform(-2.0, 3.0)", {3, 4}},
      {"identity", Init.identity(), "nn.init.identity()", {3, 3}},
      {"glorot_normal", Init.glorot_normal(), "nn.init.glorot_normal()", {3, 4}},
      {"glorot_normal", Init.glorot_normal(gain: 0.5), "lambda a: nn.init.glorot_normal()(a, 0.5)", {3, 2, 2, 4}},
      {"glorot_uniform", Init.glorot_uniform(), "nn.init.glorot_uniform()", {3, 4}},
      {"glorot_uniform", Init.glorot_uniform(gain: 0.5), "lambda a: nn.init.glorot_uniform()(a, 0.5)", {3, 5, 4}},
      {"he_normal", Init.he_normal(), "nn.init.he_normal()", {3, 4}},
      {"he_normal", Init.he_normal(mode: :fan_out, gain: 2.0), "lambda a: nn.init.he_normal()(a, 'fan_out', 2.0)",
       {3, 2, 4}},
      {"he_uniform", Init.he_uniform(), "nn.init.he_uniform()", {3, 4}},
      {"he_uniform", Init.he_uniform(mode: :fan_out, gain: 2.0), "lambda a: nn.init.he_uniform()(a, 'fan_out', 2.0)",
       {3, 2, 4}},
      {"sparse", Init.sparse(0.5), "nn.init.sparse(0.5)", {3, 5}},
      {"sparse", Init.sparse(0, mean: 1.0, std: 0.5), "nn.init.sparse(0.0, 1.0, 0.5)", {3, 5}},
      {"orthogonal", Init.orthogonal(), "nn.init.orthogonal()", {3, 4}},
      {"orthogonal", Init.orthogonal(gain: 2.0, type: :f16), "nn.init.orthogonal(2.0, mx.float16)", {4, 3}}
    ]
  end
end
