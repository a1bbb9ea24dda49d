defmodule Mlx.LM.Families.BailingMoE do
  @moduledoc false
  # Llama with other names, whose matrices of q, k and v are one, and experts in all but the first layers. In some models
  # heads are normalised, a part of each rotates, or the columns of the output matrix are normalised.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Rope, Tensors}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)
    dims = Fields.size(fields, "rotary_dim", nil) || Rope.partial(fields, size)
    bias = Fields.flag(fields, "use_bias", false)
    plain = Fields.count(fields, "first_k_dense_replace", 0)
    norm = if Fields.flag(fields, "use_qk_norm", false), do: Qwen3.attention(fields), else: []

    attention = [
      joined: true,
      bias: Fields.flag(fields, "use_qkv_bias", false),
      output_bias: bias,
      rope: Rope.read(fields, size, dims: dims, traditional: false)
    ]

    Plain.config(fields,
      attention: attention ++ norm,
      feed_forward: [bias: bias],
      block: &if(&1 >= plain, do: [feed_forward: experts(fields, bias)], else: [])
    )
  end

  defp experts(fields, bias) do
    hidden = Fields.size(fields, "moe_intermediate_size")
    top = Fields.size(fields, "num_experts_per_tok")
    scores = Fields.choice(fields, "score_function", ["softmax", "sigmoid"], "softmax")

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: top,
     hidden: hidden,
     scores: if(scores == "softmax", do: :softmax, else: :sigmoid),
     correction: Fields.flag(fields, "moe_router_enable_expert_bias", false),
     normalize: Fields.flag(fields, "norm_topk_prob", false) and top > 1,
     scale: Fields.number(fields, "routed_scaling_factor", 1.0),
     groups: Plain.groups(fields),
     bias: bias,
     shared: shared(fields, hidden),
     shared_bias: bias}
  end

  defp shared(fields, hidden) do
    count = Fields.count(fields, "num_shared_experts", 0)
    used? = count > 0 and Fields.flag(fields, "moe_router_enable_shared_expert", true)
    if used?, do: count * Fields.size(fields, "moe_shared_expert_intermediate_size", hidden)
  end

  @impl true
  def names do
    [
      {"word_embeddings", "embed_tokens"},
      {"attention.query_key_value", "self_attn.qkv_proj"},
      {"attention.query_layernorm", "self_attn.q_norm"},
      {"attention.key_layernorm", "self_attn.k_norm"},
      {"attention.dense", "self_attn.o_proj"},
      {"mlp.gate.gate_proj", "mlp.gate"},
      {"mlp.gate.expert_bias", "mlp.e_score_correction_bias"},
      {"mlp.shared_experts", "mlp.shared_expert"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    tensors = Tensors.stack_experts(tensors)
    packed? = is_map_key(tensors, "lm_head.scales")

    if Fields.flag(fields, "norm_head", false) and not packed?,
      do: Tensors.replace(tensors, ~r/^lm_head\.weight$/, &[{&1, normalized(&2)}]),
      else: tensors
  end

  defp normalized(weight) do
    length = weight |> Mlx.as_type(:f32) |> Mlx.square() |> Mlx.sum(axes: [0], keep_axes: true) |> Mlx.sqrt()
    weight |> Mlx.divide(Mlx.add(length, 1.0e-7)) |> Mlx.as_type(weight.type)
  end
end
