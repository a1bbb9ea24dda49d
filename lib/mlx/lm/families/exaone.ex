defmodule Mlx.LM.Families.Exaone do
  @moduledoc false
  # Llama with other names.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    fields = Fields.put_new(fields, "num_hidden_layers", Fields.layers(fields, "num_layers"))
    Plain.config(fields, norm: {:rms, Fields.positive(fields, "layer_norm_epsilon")})
  end

  @impl true
  def names do
    [
      {"transformer.wte", "model.embed_tokens"},
      {"transformer.h", "model.layers"},
      {"transformer.ln_f", "model.norm"},
      {"ln_1", "input_layernorm"},
      {"ln_2", "post_attention_layernorm"},
      {"attn.attention", "self_attn"},
      {"out_proj", "o_proj"},
      {"mlp.c_fc_0", "mlp.gate_proj"},
      {"mlp.c_fc_1", "mlp.up_proj"},
      {"mlp.c_proj", "mlp.down_proj"}
    ]
  end
end
