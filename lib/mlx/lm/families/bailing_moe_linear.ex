defmodule Mlx.LM.Families.BailingMoELinear do
  @moduledoc false
  # Linear attention with constant decays in all but the last layer of each group, and experts with shared ones.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{DecayedAttention, Experts}
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  # There is a number for each head.
  @most_heads 4096

  @impl true
  def config(fields) do
    attention = [
      joined: true,
      norm: norm(fields),
      output_bias: bias(fields),
      rope: rope(fields, Plain.head_size(fields))
    ]

    config(fields,
      attention: attention ++ [bias: Fields.flag(fields, "use_qkv_bias", false)],
      global: :attention,
      linear: &{DecayedAttention, linear(fields, max(&1 - 1, 0))}
    )
  end

  @doc """
  The configuration with these mixers, `:global` of the last layer of each group and a function `:linear` of the number of
  a layer for the others; with `:experts`, options that are different; and with `:attention`.
  """
  @spec config(Fields.t(), keyword()) :: Mlx.LM.Decoder.Config.t()
  def config(fields, different) do
    plain = Fields.count(fields, "first_k_dense_replace", 0)
    experts = Keyword.merge(experts(fields, bias(fields)), different[:experts] || [])

    Plain.config(fields,
      attention: different[:attention] || [],
      feed_forward: [bias: bias(fields)],
      block: fn layer ->
        mixer = if global?(fields, layer), do: different[:global], else: different[:linear].(layer)
        [mixers: [self_attn: mixer]] ++ if(layer >= plain, do: [feed_forward: {Experts, experts}], else: [])
      end
    )
  end

  defp bias(fields), do: Fields.flag(fields, "use_bias", false)

  @doc "Whether a layer sees everything."
  @spec global?(Fields.t(), non_neg_integer()) :: boolean()
  def global?(fields, layer) do
    {size, count} = {Fields.size(fields, "layer_group_size"), Fields.layers(fields, "num_hidden_layers")}
    rem(layer + 1, size) == 0 or layer >= div(count, size) * size
  end

  defp norm(fields) do
    if Fields.flag(fields, "use_qk_norm", false), do: {:rms, Fields.positive(fields, "rms_norm_eps")}
  end

  defp rope(fields, size), do: Rope.read(fields, size, dims: Rope.partial(fields, size))

  @doc "The options of linear attention, whose decays are those of a layer."
  @spec linear(Fields.t(), non_neg_integer()) :: keyword()
  def linear(fields, layer) do
    {width, heads} = {Fields.size(fields, "hidden_size"), Fields.size(fields, "num_attention_heads")}
    if heads > min(width, @most_heads), do: Fields.refuse(fields, "num_attention_heads", "at most #{@most_heads} heads")
    size = Plain.head_size(fields)
    groups = Fields.size(fields, "group_norm_size", 1)
    if rem(heads * size, groups) != 0, do: Fields.refuse(fields, "group_norm_size", "a divisor of #{heads * size}")

    [
      width: width,
      heads: heads,
      head_size: size,
      bias: Fields.flag(fields, "use_qkv_bias", false),
      output_bias: Fields.flag(fields, "use_bias", false),
      norm: norm(fields),
      rope: rope(fields, size),
      decays: decays(heads, layer, Fields.layers(fields, "num_hidden_layers")),
      eps: Fields.positive(fields, "rms_norm_eps"),
      norm_groups: groups
    ]
  end

  # Powers of two with exponents in even steps, as in ALiBi; smaller in later layers.
  defp decays(heads, layer, layers) do
    factor = 1 - layer / max(layers - 1, 1) + 1.0e-5
    for slope <- slopes(heads), do: slope * factor
  end

  defp slopes(heads) do
    power = 2 ** floor(:math.log2(heads))
    between = power |> then(&powers(2 * &1)) |> Enum.take_every(2) |> Enum.take(heads - power)
    powers(power) ++ between
  end

  defp powers(count), do: for(head <- 1..count, do: 2 ** (-8 / count * head))

  defp experts(fields, bias) do
    hidden = Fields.size(fields, "moe_intermediate_size")
    shared = Fields.count(fields, "num_shared_experts", 0)
    shared = if Fields.flag(fields, "moe_router_enable_shared_expert", true), do: shared, else: 0

    [
      width: Fields.size(fields, "hidden_size"),
      experts: Fields.size(fields, "num_experts"),
      top: Fields.size(fields, "num_experts_per_tok"),
      hidden: hidden,
      bias: bias,
      scores: scores(Fields.choice(fields, "score_function", ["softmax", "sigmoid"], "softmax")),
      correction: Fields.flag(fields, "moe_router_enable_expert_bias", false),
      normalize: Fields.flag(fields, "norm_topk_prob", false),
      scale: Fields.number(fields, "routed_scaling_factor", 1.0),
      groups: groups(Fields.size(fields, "n_group", 1), Fields.size(fields, "topk_group", 1)),
      shared: if(shared > 0, do: shared * Fields.size(fields, "moe_shared_expert_intermediate_size", hidden)),
      shared_bias: bias
    ]
  end

  defp scores("softmax"), do: :softmax
  defp scores("sigmoid"), do: :sigmoid

  defp groups(1, _kept), do: nil
  defp groups(count, kept), do: {count, kept}

  @impl true
  def names do
    [
      {"model.word_embeddings", "model.embed_tokens"},
      {"attention.query_key_value", "self_attn.qkv_proj"},
      {"attention.dense", "self_attn.o_proj"},
      {"attention.query_layernorm", "self_attn.q_norm"},
      {"attention.key_layernorm", "self_attn.k_norm"},
      {"attention", "self_attn"},
      {"mlp.shared_experts", "mlp.shared_expert"},
      {"mlp.gate.gate_proj", "mlp.gate"},
      {"mlp.gate.expert_bias", "mlp.e_score_correction_bias"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    tensors = Tensors.stack_experts(tensors)

    if Fields.flag(fields, "norm_head", false) and is_map_key(tensors, "lm_head.weight"),
      do: Map.update!(tensors, "lm_head.weight", &normalized/1),
      else: tensors
  end

  defp normalized(weight) do
    squares = weight |> Mlx.as_type(:f32) |> Mlx.square() |> Mlx.sum(axes: [0], keep_axes: true)
    weight |> Mlx.divide(Mlx.add(Mlx.sqrt(squares), 1.0e-7)) |> Mlx.as_type(weight.type)
  end
end
