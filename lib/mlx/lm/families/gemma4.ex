defmodule Mlx.LM.Families.Gemma4 do
  @moduledoc false
  # Gemma 3 whose normalisations have plain weights and whose scores have no factor; values are normalised too. Layers
  # without a window have larger heads. In small models the last layers take the keys and values of earlier ones, and each
  # block has an input of its own; in large ones the keys are the values too, and there are experts beside the
  # feed-forward layer.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Factor, LayerInput, RoutedExperts}
  alias Mlx.LM.Families.{Fields, Plain, Rope, SharedKeys, Tensors}

  @defaults %{
    "hidden_size" => 1536,
    "num_hidden_layers" => 35,
    "intermediate_size" => 6144,
    "num_attention_heads" => 8,
    "head_dim" => 256,
    "global_head_dim" => 512,
    "rms_norm_eps" => 1.0e-6,
    "vocab_size" => 262_144,
    "vocab_size_per_layer_input" => 262_144,
    "num_key_value_heads" => 1,
    "num_kv_shared_layers" => 20,
    "hidden_size_per_layer_input" => 256,
    "sliding_window" => 512,
    "sliding_window_pattern" => 5,
    "max_position_embeddings" => 131_072,
    "final_logit_softcapping" => 30.0,
    "rope_parameters" => %{
      "full_attention" => %{"partial_rotary_factor" => 0.25, "rope_theta" => 1.0e6, "rope_type" => "proportional"},
      "sliding_attention" => %{"rope_theta" => 1.0e4, "rope_type" => "default"}
    }
  }

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
    pattern = Fields.size(fields, "sliding_window_pattern")
    windows = Plain.windows(fields, &(rem(&1 + 1, pattern) != 0))
    eps = Fields.positive(fields, "rms_norm_eps")

    config =
      Plain.config(fields,
        norms: :sandwich,
        attention: [bias: false, output_bias: false, norm: {:rms, eps}, value_norm: eps, scale: 1.0],
        block: &[attention: attention(fields, windows, &1), feed_forward: feed_forward(fields, &1)],
        embedding_scale: :math.sqrt(Fields.size(fields, "hidden_size")),
        layer_inputs: layer_inputs(fields, eps),
        logit_cap: Fields.positive(fields, "final_logit_softcapping", nil)
      )

    blocks = for {block, layer} <- Enum.with_index(config.blocks), do: more(block, fields, layer, eps)
    %{config | blocks: blocks}
  end

  defp attention(fields, windows, layer) do
    window = Enum.at(windows, layer)
    {kind, size} = if window, do: {"sliding_attention", "head_dim"}, else: {"full_attention", "global_head_dim"}
    size = Fields.size(fields, size)
    same? = window == nil and Fields.flag(fields, "attention_k_eq_v", false)
    heads = if same?, do: Fields.size(fields, "num_global_key_value_heads", nil)

    [
      window: window,
      head_size: size,
      rope: Rope.of_kind(fields, kind, size),
      values: if(same?, do: :keys, else: :own),
      key_value_heads: heads || Fields.size(fields, "num_key_value_heads")
    ] ++ SharedKeys.attention(fields, windows, layer)
  end

  defp feed_forward(fields, layer) do
    first = SharedKeys.first(fields, Fields.layers(fields, "num_hidden_layers"))
    wide? = Fields.flag(fields, "use_double_wide_mlp", true) and layer >= first and first > 0
    hidden = Fields.size(fields, "intermediate_size")
    [activation: "gelu_pytorch_tanh", bias: false, hidden: if(wide?, do: 2 * hidden, else: hidden)]
  end

  defp layer_inputs(fields, eps) do
    size = Fields.count(fields, "hidden_size_per_layer_input", 0)

    if size > 0 do
      [
        vocabulary: Fields.size(fields, "vocab_size_per_layer_input"),
        width: Fields.size(fields, "hidden_size"),
        layers: Fields.layers(fields, "num_hidden_layers"),
        size: size,
        eps: eps
      ]
    end
  end

  defp more({[attend, [forward]], parts}, fields, layer, eps) do
    {forward, experts} =
      if Fields.flag(fields, "enable_moe_block", false), do: experts(forward, fields, eps), else: {forward, []}

    {inputs, own} = own_input(fields, layer, eps)

    {[attend, [forward]] ++ inputs ++ [{:through, :layer_scalar}],
     parts ++ experts ++ own ++ [layer_scalar: {Factor, size: 1}]}
  end

  defp experts(forward, fields, eps) do
    dense = %{before: :pre_feedforward_layernorm, part: :mlp, after: :post_feedforward_layernorm_1}

    forward =
      forward |> Map.delete(:before) |> Map.put(:part, [dense, %{part: :experts, after: :post_feedforward_layernorm_2}])

    experts =
      {RoutedExperts,
       width: Fields.size(fields, "hidden_size"),
       experts: Fields.size(fields, "num_experts"),
       top: Fields.size(fields, "top_k_experts"),
       hidden: Fields.size(fields, "moe_intermediate_size"),
       eps: eps}

    norms = for number <- 1..2, do: {:"post_feedforward_layernorm_#{number}", {:norm, {:rms, eps}}}
    {forward, [{:experts, experts} | norms]}
  end

  defp own_input(fields, layer, eps) do
    case Fields.count(fields, "hidden_size_per_layer_input", 0) do
      0 ->
        {[], []}

      size ->
        part = {LayerInput, width: Fields.size(fields, "hidden_size"), size: size, layer: layer}

        {[[%{part: :per_layer_input, after: :post_per_layer_input_norm}]],
         [per_layer_input: part, post_per_layer_input_norm: {:norm, {:rms, eps}}]}
    end
  end

  @impl true
  def names do
    [
      {"embed_tokens_per_layer", "layer_inputs.embedding"},
      {"per_layer_model_projection", "layer_inputs.projection"},
      {"per_layer_projection_norm", "layer_inputs.norm"},
      {"per_layer_input_gate", "per_layer_input.gate"},
      {"per_layer_projection", "per_layer_input.projection"},
      {"layer_scalar", "layer_scalar.weight"},
      {"router", "experts"},
      {"pre_feedforward_layernorm_2", "experts.norm"},
      {"experts.switch_glu", "experts.switch_mlp"}
    ]
  end

  # In files of Hugging Face, the layers that share have matrices that nobody reads, and the experts are stacks, in which
  # the gate and the other factor are one.
  @impl true
  def tensors(tensors, fields) do
    tensors
    |> Map.reject(fn {name, _array} -> name =~ ~r/(input|output)_(max|min)$/ end)
    |> SharedKeys.read(Fields.put_new(fields, "num_kv_shared_layers", @defaults["num_kv_shared_layers"]))
    |> Tensors.replace(~r/\.experts\.(gate_up|down)_proj$/, &in_experts/2)
  end

  defp in_experts(name, array) do
    for {name, array} <- Tensors.stacks(name, array),
        do: {String.replace(name, ".switch_mlp.", ".experts.switch_mlp."), array}
  end
end
