defmodule Mlx.LM.Families.GPTBigCode do
  @moduledoc false
  # GPT 2 with one head of keys and values for all, and matrices that are not transposed in files.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    width = Fields.size(fields, "n_embd")
    heads = Fields.size(fields, "n_head")
    positions = Fields.size(fields, "n_positions", 1024)
    bias = Fields.flag(fields, "attention_bias", true)

    fields
    |> Fields.put_new("hidden_size", width)
    |> Fields.put_new("num_attention_heads", heads)
    |> Fields.put_new("num_hidden_layers", Fields.layers(fields, "n_layer"))
    |> Plain.config(
      norm: {:layer, Fields.positive(fields, "layer_norm_epsilon", 1.0e-5)},
      attention: [
        bias: bias,
        output_bias: bias,
        joined: true,
        rope: nil,
        key_value_heads: if(Fields.flag(fields, "multi_query", true), do: 1, else: heads)
      ],
      feed_forward:
        {PlainFeedForward,
         width: width,
         hidden: Fields.size(fields, "n_inner", 4 * width),
         bias: Fields.flag(fields, "mlp_bias", true),
         activation: "gelu"},
      positions: positions,
      context_length: positions
    )
  end

  @impl true
  def names do
    [
      {"transformer.wte", "model.embed_tokens"},
      {"transformer.wpe", "model.embed_positions"},
      {"transformer.ln_f", "model.norm"},
      {"transformer.h", "model.layers"},
      {"ln_1", "input_layernorm"},
      {"ln_2", "post_attention_layernorm"},
      {"attn.c_attn", "self_attn.qkv_proj"},
      {"attn.c_proj", "self_attn.o_proj"},
      {"mlp.c_fc", "mlp.fc1"},
      {"mlp.c_proj", "mlp.fc2"}
    ]
  end
end
