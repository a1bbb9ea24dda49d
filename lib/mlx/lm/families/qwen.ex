defmodule Mlx.LM.Families.Qwen do
  @moduledoc false
  # The first Qwen: other names, and the matrices of q, k and v are one.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    bias = not Fields.flag(fields, "no_bias", true)
    size = Fields.size(fields, "kv_channels", 128)

    Plain.config(fields,
      norm: {:rms, Fields.positive(fields, "layer_norm_epsilon", 1.0e-6)},
      attention: [
        joined: true,
        bias: true,
        output_bias: bias,
        head_size: size,
        rope: Rope.read(fields, size, scaling: false)
      ],
      feed_forward: [hidden: div(Fields.size(fields, "intermediate_size"), 2), bias: bias],
      tied: false,
      output_bias: bias
    )
  end

  @impl true
  def names do
    [
      {"transformer.wte", "model.embed_tokens"},
      {"transformer.h", "model.layers"},
      {"transformer.ln_f", "model.norm"},
      {"ln_1", "input_layernorm"},
      {"ln_2", "post_attention_layernorm"},
      {"attn.c_attn", "self_attn.qkv_proj"},
      {"attn.c_proj", "self_attn.o_proj"},
      {"mlp.w2", "mlp.gate_proj"},
      {"mlp.w1", "mlp.up_proj"},
      {"mlp.c_proj", "mlp.down_proj"}
    ]
  end
end
