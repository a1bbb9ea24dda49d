defmodule Mlx.LM.Families.NanoChat do
  @moduledoc false
  # Normalisations without weights, also of the embedding and of rotated heads; positions rotate the other way round; a
  # plain feed-forward layer, and a cap of the logits.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{PlainFeedForward, RoPE}
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @norm {:rms_without_weight, 1.0e-5}

  @impl true
  def config(fields) do
    rope = Rope.read(fields, Plain.head_size(fields), scaling: false)
    rope = RoPE.new(rope.dims, base: rope.base, scaling: %{type: "reversed"})

    Plain.config(fields,
      norm: @norm,
      embedding_norm: @norm,
      attention: [bias: false, output_bias: false, norm: @norm, norm_of: :rotated, rope: rope],
      feed_forward:
        {PlainFeedForward,
         width: Fields.size(fields, "hidden_size"),
         hidden: Fields.size(fields, "intermediate_size"),
         activation: "relu2"},
      logit_cap: 15.0,
      tied: false
    )
  end

  @impl true
  def names do
    [
      {"transformer.wte", "model.embed_tokens"},
      {"transformer.h", "model.layers"},
      {"attn.c_q", "self_attn.q_proj"},
      {"attn.c_k", "self_attn.k_proj"},
      {"attn.c_v", "self_attn.v_proj"},
      {"attn.c_proj", "self_attn.o_proj"},
      {"mlp.c_fc", "mlp.fc1"},
      {"mlp.c_proj", "mlp.fc2"}
    ]
  end
end
