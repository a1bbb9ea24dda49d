defmodule Mlx.LM.Families.InternLM2 do
  @moduledoc false
  # Llama with other names. The matrices of q, k and v are one: for each head of keys its queries, the key and the value.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, GroupedRows, Plain}

  @impl true
  def config(fields) do
    bias = Fields.flag(fields, "bias", true)

    fields
    |> Fields.put_new("max_position_embeddings", 32_768)
    |> Plain.config(attention: [bias: bias, output_bias: bias])
  end

  @impl true
  def names do
    [
      {"model.tok_embeddings", "model.embed_tokens"},
      {"output", "lm_head"},
      {"attention_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"attention.wqkv", "self_attn.wqkv"},
      {"attention.wo", "self_attn.o_proj"},
      {"feed_forward.w1", "mlp.gate_proj"},
      {"feed_forward.w2", "mlp.down_proj"},
      {"feed_forward.w3", "mlp.up_proj"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    GroupedRows.split(tensors, "wqkv", Fields.size(fields, "num_attention_heads"), shared(fields))
  end

  @impl true
  def joints, do: [GroupedRows.joint("wqkv", &shared/1)]

  defp shared(fields), do: Fields.size(fields, "num_key_value_heads", Fields.size(fields, "num_attention_heads"))
end
