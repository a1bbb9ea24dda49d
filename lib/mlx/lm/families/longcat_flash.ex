defmodule Mlx.LM.Families.LongcatFlash do
  @moduledoc false
  # Two latent attentions and two feed-forward layers in each block, and experts beside all but the first attention, some of
  # which give what they take.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Experts, GatedFeedForward}
  alias Mlx.LM.Families.{Fields, Latent, Plain, Tensors}

  @steps [
    [%{before: :input_layernorm_0, part: :self_attn_0}],
    [
      %{before: :post_attention_layernorm_0, part: :mlp, later: :shortcut},
      %{before: :post_attention_layernorm_0, part: :mlps_0}
    ],
    [%{before: :input_layernorm_1, part: :self_attn_1}],
    [%{before: :post_attention_layernorm_1, part: :mlps_1}],
    {:add, :shortcut}
  ]

  @impl true
  def config(fields) do
    fields = Fields.put_new(fields, "num_hidden_layers", Fields.layers(fields, "num_layers"))
    fields = Fields.put_new(fields, "intermediate_size", Fields.size(fields, "ffn_hidden_size"))
    config = Plain.config(fields, mixers: [Latent.mixer(fields, attention(fields))], tied: false)
    width = Fields.size(fields, "hidden_size")
    dense = {GatedFeedForward, width: width, hidden: Fields.size(fields, "ffn_hidden_size")}

    blocks =
      for {_steps, parts} <- config.blocks do
        norms = for name <- [:input_layernorm, :post_attention_layernorm], do: {name, parts[name]}
        twice = [self_attn: parts[:self_attn], mlps: dense] ++ norms

        {@steps,
         [mlp: experts(fields, width)] ++ for({name, part} <- twice, copy <- 0..1, do: {:"#{name}_#{copy}", part})}
      end

    %{config | blocks: blocks}
  end

  defp attention(fields) do
    {_name, {_module, options}} = Latent.mixer(fields, eps: 1.0e-5)

    [
      eps: 1.0e-5,
      scale: options[:scale] * growth(fields, "mla_scale_q_lora", "q_lora_rank"),
      latent_scale: growth(fields, "mla_scale_kv_lora", "kv_lora_rank")
    ]
  end

  defp growth(fields, key, size) do
    if Fields.flag(fields, key, false),
      do: :math.sqrt(Fields.size(fields, "hidden_size") / Fields.size(fields, size)),
      else: 1.0
  end

  defp experts(fields, width) do
    {Experts,
     width: width,
     experts: Fields.size(fields, "n_routed_experts"),
     identities: Fields.count(fields, "zero_expert_num", 0),
     top: Fields.size(fields, "moe_topk"),
     hidden: Fields.size(fields, "expert_ffn_hidden_size"),
     correction: true,
     normalize: Fields.flag(fields, "norm_topk_prob", false),
     scale: Fields.number(fields, "routed_scaling_factor", 1.0),
     gate_bias: Fields.flag(fields, "router_bias", false)}
  end

  @impl true
  def names do
    twice =
      for name <- ~w(self_attn mlps input_layernorm post_attention_layernorm),
          copy <- 0..1,
          do: {"#{name}.#{copy}", "#{name}_#{copy}"}

    [
      {"mlp.router.classifier", "mlp.gate"},
      {"mlp.router.e_score_correction_bias", "mlp.e_score_correction_bias"} | twice
    ]
  end

  # The choice of experts has 8 bits.
  @impl true
  def packing(path), do: if(String.ends_with?(path, "mlp.gate"), do: [group_size: 64, bits: 8], else: true)

  # Layers that predict further tokens are left out.
  @impl true
  def tensors(tensors, fields) do
    tensors
    |> Map.reject(fn {name, _array} -> String.starts_with?(name, "model.mtp") end)
    |> Tensors.stack_experts()
    |> Latent.embedded(fields, Fields.size(fields, "v_head_dim"))
  end
end
