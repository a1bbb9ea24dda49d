defmodule Mlx.LM.Families.AFMoE do
  @moduledoc false
  # Normalisations before and after each part, normalised heads, and a gate of each output feature; only layers with a
  # window have rotary positions; experts with a bias for the choice, and a shared one.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Rope, Tensors}

  @impl true
  def config(fields) do
    windows = fields |> Fields.put_new("sliding_window", 2048) |> Plain.windows(fn _layer -> false end)
    rope = Rope.read(fields, Plain.head_size(fields), traditional: false)
    plain = Fields.count(fields, "num_dense_layers", 2)
    attention = [bias: false, output_bias: false, gate: {:features, :sigmoid}] ++ Qwen3.attention(fields)

    Plain.config(fields,
      norms: :sandwich,
      attention: attention,
      block: fn layer ->
        window = Enum.at(windows, layer)
        own = [attention: [window: window, rope: if(window, do: rope)]]
        if layer >= plain, do: own ++ [feed_forward: experts(fields)], else: own
      end,
      embedding_scale: if(Fields.flag(fields, "mup_enabled", true), do: :math.sqrt(Fields.size(fields, "hidden_size")))
    )
  end

  defp experts(fields) do
    hidden = Fields.size(fields, "moe_intermediate_size")
    shared = Fields.count(fields, "num_shared_experts", 1)
    top = Fields.size(fields, "num_experts_per_tok")
    scores = Fields.choice(fields, "score_func", ["sigmoid", "softmax"], "sigmoid")

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: top,
     hidden: hidden,
     scores: if(scores == "sigmoid", do: :sigmoid, else: :softmax),
     correction: true,
     normalize: Fields.flag(fields, "route_norm", true) and top > 1,
     scale: Fields.number(fields, "route_scale", 2.826),
     groups: Plain.groups(fields),
     shared: if(shared > 0, do: shared * hidden)}
  end

  @impl true
  def names do
    [
      {"pre_mlp_layernorm", "pre_feedforward_layernorm"},
      {"post_mlp_layernorm", "post_feedforward_layernorm"},
      {"self_attn.gate_proj", "self_attn.g_proj"},
      {"mlp.router.gate", "mlp.gate"},
      {"mlp.expert_bias", "mlp.e_score_correction_bias"},
      {"mlp.shared_experts", "mlp.shared_expert"}
    ] ++ Tensors.stacked_names()
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
