defmodule Mlx.LM.Families.Laguna do
  @moduledoc false
  # Normalised heads, whose outputs have a gate each; layers with a window and without have numbers of heads and positions
  # of their own; experts with a bias for the choice, and a shared one.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Rope, Tensors}

  @impl true
  def config(fields) do
    fields = fields |> Fields.put_new("sliding_window", 512) |> Fields.put_new("num_key_value_heads", 8)
    count = Fields.layers(fields, "num_hidden_layers")
    windows = Plain.windows(fields, fn _layer -> false end)
    heads = Fields.list(fields, "num_attention_heads_per_layer", count, nil)
    kinds = Fields.list(fields, "mlp_layer_types", count, ["dense" | List.duplicate("sparse", count - 1)])
    gate = if Fields.flag(fields, "gating", true), do: {:heads, :softplus}

    Plain.config(fields,
      attention:
        [
          bias: Fields.flag(fields, "qkv_bias", false),
          output_bias: Fields.flag(fields, "attention_bias", false),
          gate: gate
        ] ++ Qwen3.attention(fields),
      block: fn layer ->
        attention = attention(fields, Enum.at(windows, layer), heads && Enum.at(heads, layer))

        if Enum.at(kinds, layer) == "sparse",
          do: [attention: attention, feed_forward: experts(fields)],
          else: [attention: attention]
      end
    )
  end

  defp attention(fields, window, heads) do
    kind = if window, do: "sliding_attention", else: "full_attention"
    shared = Fields.size(fields, "num_key_value_heads")

    if heads != nil and not (is_integer(heads) and heads > 0 and rem(heads, shared) == 0) do
      Fields.refuse(fields, "num_attention_heads_per_layer", "multiples of the #{shared} heads of keys")
    end

    own = if heads, do: [heads: heads], else: []

    [window: window, rope: Rope.of_kind(fields, kind, Plain.head_size(fields), partial: true, traditional: false)] ++
      own
  end

  defp experts(fields) do
    cap = Fields.number(fields, "moe_router_logit_softcapping", 0.0)
    scores = Fields.choice(fields, "moe_router_score_func", ["sigmoid", "sqrtsoftplus"], "sigmoid")

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     scores: if(scores == "sigmoid", do: :sigmoid, else: :sqrt_softplus),
     logit_cap: if(cap > 0, do: cap),
     correction: true,
     normalize: true,
     scale: Fields.number(fields, "moe_routed_scaling_factor", 1.0),
     shared: Fields.size(fields, "shared_expert_intermediate_size")}
  end

  @impl true
  def names do
    [
      {"mlp.gate.proj", "mlp.gate"},
      {"mlp.gate.e_score_correction_bias", "mlp.e_score_correction_bias"},
      {"mlp.experts.e_score_correction_bias", "mlp.e_score_correction_bias"}
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
