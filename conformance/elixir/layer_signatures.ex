defmodule Mlx.Conformance.LayerSignatures do
  @moduledoc """
  The rows of `mlx.nn` in `Mlx.Conformance.Signatures`.
  """

  import Mlx.Conformance.Parameters

  alias Mlx.Conformance.Layers
  alias Mlx.NN

  @mask {:either, [:array, :word]}

  @doc "The rows."
  def rows, do: constructors() ++ calls() ++ activations() ++ losses() ++ initializers()

  defp constructors do
    for {names, parameters} <- layers(), name <- names do
      {["mlx.nn.#{name}"], parameters, Layers.make(module(name), :new, parameters)}
    end ++
      for {name, function, parameters} <- made_of_others() do
        {["mlx.nn.#{name}.#{function}"], parameters, Layers.make(module(name), function, parameters)}
      end
  end

  defp layers do
    dims = [input_dims: :integer, output_dims: :integer]
    bias = options(:boolean, [:bias])
    eps = options(:number, [:eps])
    affine = options(:boolean, [:affine])

    without_sizes() ++
      convolutions() ++
      pools() ++
      transformers() ++
      [
        {~w(Linear), dims ++ bias},
        {~w(Bilinear), [input1_dims: :integer, input2_dims: :integer, output_dims: :integer] ++ bias},
        {~w(Embedding), [num_embeddings: :integer, dims: :integer]},
        {~w(BatchNorm),
         [num_features: :integer] ++
           eps ++ options(:number, [:momentum]) ++ affine ++ options(:boolean, [:track_running_stats])},
        {~w(GroupNorm),
         [num_groups: :integer, dims: :integer] ++ eps ++ affine ++ options(:boolean, [:pytorch_compatible])},
        {~w(InstanceNorm), [dims: :integer] ++ eps ++ affine},
        {~w(LayerNorm), [dims: :integer] ++ eps ++ affine ++ bias},
        {~w(RMSNorm), [dims: :integer] ++ eps},
        {~w(Dropout Dropout2d Dropout3d), options(:number, [:p])},
        {~w(RoPE), [dims: :integer, traditional: option(:boolean, :traditional)] ++ options(:number, [:base, :scale])},
        {~w(SinusoidalPositionalEncoding),
         [dims: :integer] ++
           options(:number, [:min_freq, :max_freq, :scale]) ++ options(:boolean, [:cos_first, :full_turns])},
        {~w(GRU LSTM), [input_size: :integer, hidden_size: :integer] ++ bias},
        {~w(RNN), [input_size: :integer, hidden_size: :integer] ++ bias ++ options(:unary, [:nonlinearity])},
        {~w(QuantizedLinear), dims ++ bias ++ format()},
        {~w(QQLinear), dims ++ format()},
        {~w(QuantizedEmbedding), [num_embeddings: :integer, dims: :integer] ++ format()},
        {~w(Upsample),
         [scale_factor: {:per_axis, :number}, mode: option(:word, :mode)] ++
           options(:boolean, [:align_corners, :antialias])}
      ]
  end

  # Those without sizes.
  defp without_sizes do
    [
      {~w(ALiBi Hardswish LogSigmoid Mish ReLU ReLU2 ReLU6 SELU SiLU Sigmoid Softplus Softsign Tanh), []},
      {~w(CELU ELU), options(:number, [:alpha])},
      {~w(GELU), options(:word, [:approx])},
      {~w(HardShrink Softshrink), [lambd: option(:number, :lambda)]},
      # Its bounds are options of the function only in Python.
      {~w(HardTanh), []},
      {~w(LeakyReLU), options(:number, [:negative_slope])},
      {~w(GLU LogSoftmax Softmax Softmin), options(:integer, [:axis])},
      {~w(PReLU), [num_parameters: option(:integer, :num_parameters), init: option(:number, :init)]},
      {~w(Step), options(:number, [:threshold])}
    ]
  end

  defp convolutions do
    sizes = [in_channels: :integer, out_channels: :integer, kernel_size: {:per_axis, :integer}]

    window = [
      stride: option(:axes, :strides),
      padding: option(:axes, :padding),
      dilation: option(:axes, :kernel_dilation)
    ]

    bias = options(:boolean, [:bias])

    [
      {~w(Conv1d Conv2d), sizes ++ window ++ [groups: option(:integer, :feature_group_size)] ++ bias},
      {~w(Conv3d), sizes ++ window ++ bias},
      {~w(ConvTranspose1d ConvTranspose2d ConvTranspose3d),
       sizes ++ window ++ [output_padding: option(:axes, :output_padding)] ++ bias}
    ]
  end

  defp pools do
    size = {:per_axis, :integer}
    names = for kind <- ~w(Avg Max), axes <- 1..3, do: "#{kind}Pool#{axes}d"
    [{names, [kernel_size: size, stride: option(size, :strides), padding: option(size, :padding)]}]
  end

  defp transformers do
    heads = [dims: :integer, num_heads: :integer]
    inputs = [:query_input_dims, :key_input_dims, :value_input_dims, :value_dims, :value_output_dims]

    perceptron = [
      mlp_dims: option(:integer, :mlp_dims),
      dropout: option(:number, :dropout),
      activation: option(:unary, :activation)
    ]

    norm = options(:boolean, [:norm_first])
    checkpoint = options(:boolean, [:checkpoint])

    [
      {~w(MultiHeadAttention), heads ++ options(:integer, inputs) ++ options(:boolean, [:bias])},
      {~w(TransformerEncoderLayer TransformerDecoderLayer), heads ++ perceptron ++ norm},
      {~w(TransformerEncoder TransformerDecoder), [num_layers: :integer] ++ heads ++ perceptron ++ norm ++ checkpoint},
      {~w(Transformer),
       options(:integer, [:dims, :num_heads, :num_encoder_layers, :num_decoder_layers]) ++
         perceptron ++ options(:layer, [:custom_encoder, :custom_decoder]) ++ norm ++ checkpoint}
    ]
  end

  defp format do
    [group_size: option(:integer, :group_size), bits: option(:integer, :bits), mode: option(:word, :mode)]
  end

  defp made_of_others do
    [
      {"QuantizedLinear", :from_linear, [linear_layer: :layer] ++ format()},
      {"QQLinear", :from_linear, [linear_layer: :layer] ++ format()},
      {"QuantizedEmbedding", :from_embedding, [embedding_layer: :layer] ++ format()}
    ]
  end

  # Layers with more than an input: the others are called with one array.
  defp calls do
    several = [
      {~w(Bilinear), :call, [x1: :array, x2: :array]},
      {~w(ALiBi), :call, [attention_scores: :array] ++ offset() ++ options(:array, [:mask])},
      {~w(RoPE), :call, [x: :array] ++ offset()},
      {~w(RNN GRU), :call, [x: :array, hidden: option(:array, :hidden)]},
      {~w(LSTM), :call, [x: :array, hidden: option(:array, :hidden), cell: option(:array, :cell)]},
      {~w(MultiHeadAttention), :call, [queries: :array, keys: :array, values: :array] ++ options(@mask, [:mask])},
      {~w(TransformerEncoder TransformerEncoderLayer), :call, [x: :array] ++ options(@mask, [:mask])},
      {~w(TransformerDecoder TransformerDecoderLayer), :call,
       [x: :array, memory: :array, x_mask: option(@mask, :mask), memory_mask: option(@mask, :memory_mask)]},
      {~w(Transformer), :call,
       [src: :array, tgt: :array, src_mask: option(@mask, :source_mask), tgt_mask: option(@mask, :target_mask)] ++
         options(@mask, [:memory_mask])}
    ]

    taken = Enum.flat_map(several, &elem(&1, 0))
    others = for {names, _parameters} <- layers(), name <- names, name not in taken, do: name

    for {names, function, parameters} <- [{others ++ ~w(Identity Sequential), :call, [x: :any]} | several],
        name <- names do
      call(name, "__call__", function, parameters)
    end ++
      for name <- ~w(Embedding QuantizedEmbedding) do
        call(name, "as_linear", :as_linear, x: :array)
      end ++
      [
        {["mlx.nn.Sequential"], [modules: variadic(:any)], &sequential/3},
        {["mlx.nn.Identity"], [arguments: variadic(:any), keywords: named(:any)],
         fn _call, _bound, _options -> NN.Identity.new() end},
        {["mlx.nn.MultiHeadAttention.create_additive_causal_mask"], [n: :integer, dtype: option(:type, :type)]}
      ]
  end

  defp offset, do: [offset: option({:either, [:integer, :array]}, :offset)]

  defp call(name, python, function, parameters) do
    {["mlx.nn.#{name}.#{python}"], [self: :layer] ++ parameters, Layers.call(module(name), function, parameters)}
  end

  # What the list holds is sent with each call.
  defp sequential(_call, %{modules: modules}, _options) do
    NN.Sequential.new(for _module <- modules, do: & &1)
  end

  defp activations do
    x = [x: :array]

    of_x =
      ~w(gelu gelu_approx gelu_fast_approx hardswish log_sigmoid mish relu relu2 relu6 selu sigmoid silu softplus) ++
        ~w(softsign tanh)

    for {names, parameters} <- [
          {of_x, x},
          {~w(celu elu), x ++ options(:number, [:alpha])},
          {~w(glu log_softmax softmax softmin), x ++ options(:integer, [:axis])},
          {~w(hard_shrink softshrink), x ++ [lambd: option(:number, :lambda)]},
          {~w(hard_tanh), x ++ [min_val: option(:number, :min), max_val: option(:number, :max)]},
          {~w(leaky_relu), x ++ options(:number, [:negative_slope])},
          {~w(prelu), x ++ [alpha: :array]},
          {~w(step), x ++ options(:number, [:threshold])}
        ] do
      {for(name <- names, do: "mlx.nn.#{name}"), parameters}
    end
  end

  defp losses do
    reduction = options(:word, [:reduction])
    pair = [inputs: :array, targets: :array]
    predictions = [predictions: :array, targets: :array]
    axis = options(:integer, [:axis])
    eps = options(:number, [:eps])

    for {names, parameters} <- [
          {~w(cross_entropy),
           [logits: :array, targets: :array, weights: option(:array, :weights)] ++
             axis ++ options(:number, [:label_smoothing])},
          {~w(binary_cross_entropy), pair ++ [weights: option(:array, :weights)] ++ options(:boolean, [:with_logits])},
          {~w(l1_loss mse_loss), predictions},
          {~w(nll_loss kl_div_loss), pair ++ axis},
          {~w(gaussian_nll_loss), pair ++ [vars: :array, full: option(:boolean, :full)] ++ eps},
          {~w(smooth_l1_loss), predictions ++ options(:number, [:beta])},
          {~w(triplet_loss),
           [anchors: :array, positives: :array, negatives: :array] ++ axis ++ options(:number, [:p, :margin]) ++ eps},
          {~w(hinge_loss log_cosh_loss), pair},
          {~w(huber_loss), pair ++ options(:number, [:delta])},
          {~w(cosine_similarity_loss), [x1: :array, x2: :array] ++ axis ++ eps},
          {~w(margin_ranking_loss), [inputs1: :array, inputs2: :array, targets: :array] ++ options(:number, [:margin])}
        ] do
      {for(name <- names, do: "mlx.nn.losses.#{name}"), parameters ++ reduction}
    end
  end

  defp initializers do
    type = [dtype: option(:type, :type)]

    for {names, parameters, later} <- [
          {~w(constant), [value: :operand], []},
          {~w(normal), [mean: option(:number, :mean), std: option(:number, :std)], []},
          {~w(uniform), [low: option(:number, :low), high: option(:number, :high)], []},
          {~w(identity), [], []},
          {~w(glorot_normal glorot_uniform), [], [:gain]},
          {~w(he_normal he_uniform), [], [:mode, :gain]},
          {~w(sparse), [sparsity: :number, mean: option(:number, :mean), std: option(:number, :std)], []},
          {~w(orthogonal), [gain: option(:number, :gain)], []}
        ],
        name <- names do
      parameters = parameters ++ type
      {["mlx.nn.init.#{name}"], parameters, Layers.initializer(String.to_atom(name), parameters, later)}
    end
  end

  defp module(name), do: Module.concat(NN, name)
end
