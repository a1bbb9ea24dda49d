defmodule Mlx.LM.Families.Talkie do
  @moduledoc false
  # Normalisations without weights; heads are normalised after the rotation, which goes the other way round, and those of
  # queries have a learned factor; so have both parts of a block, the embedding that each block adds again, and the logits.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{EmbeddingSkip, Factor}
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @defaults %{"rms_norm_eps" => 1.1920928955078125e-07, "head_dim" => 128, "max_position_embeddings" => 2048}

  @steps [
    [%{before: :input_layernorm, part: :self_attn, after: :attn_gain}],
    [%{before: :post_attention_layernorm, part: :mlp, after: :mlp_gain}],
    [%{part: :embed_skip}]
  ]

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
    eps = Fields.positive(fields, "rms_norm_eps")
    size = Fields.size(fields, "head_dim")

    config =
      Plain.config(fields,
        norm: {:rms_without_weight, eps},
        attention: [
          bias: false,
          output_bias: false,
          key_value_heads: Fields.size(fields, "num_attention_heads"),
          norm: {:rms_without_weight, eps},
          norm_of: :rotated,
          head_gain: true,
          rope: Rope.read(fields, size, base: Rope.theta(fields, 1_000_000.0), scaling: %{type: "reversed"})
        ],
        feed_forward: [bias: false],
        embedding_norm: {:rms_without_weight, eps},
        tied: false,
        logit_factor: true
      )

    gains = [attn_gain: {Factor, size: 1}, mlp_gain: {Factor, size: 1}, embed_skip: {EmbeddingSkip, []}]
    %{config | blocks: for({_steps, parts} <- config.blocks, do: {@steps, parts ++ gains})}
  end

  @impl true
  def names do
    [
      {"model.embed", "model.embed_tokens"},
      {"model.blocks", "model.layers"},
      {"lm_head", "lm_head.weight"},
      {"lm_head_gain.w_g", "model.lm_head_gain.weight"},
      {"attn.attn_query", "self_attn.q_proj"},
      {"attn.attn_key", "self_attn.k_proj"},
      {"attn.attn_value", "self_attn.v_proj"},
      {"attn.attn_resid", "self_attn.o_proj"},
      {"attn.head_gain.head_g", "self_attn.q_norm.weight"},
      {"mlp.mlp_gate", "mlp.gate_proj"},
      {"mlp.mlp_linear", "mlp.up_proj"},
      {"mlp.mlp_resid", "mlp.down_proj"},
      {"attn_gain.a_g", "attn_gain.weight"},
      {"mlp_gain.a_g", "mlp_gain.weight"},
      {"embed_skip.a_g", "embed_skip.weight"}
    ]
  end

  # The output matrix is no layer there, and what is computed is left out.
  @impl true
  def packing(path), do: path != "lm_head"

  @impl true
  def tensors(tensors, _fields), do: Map.reject(tensors, fn {name, _array} -> name =~ ~r/rotary|(cos|sin)$/ end)
end
