defmodule Mlx.LM.Families.GPTNeoX do
  @moduledoc false
  # Layer normalisations and biases everywhere; the matrices of q, k and v are one, for each head its three after each
  # other.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, GroupedRows, Plain, Rope}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)
    width = Fields.size(fields, "hidden_size")
    dims = trunc(size * Fields.positive(fields, "rotary_pct", 0.25))
    base = Fields.positive(fields, "rotary_emb_base", 10_000)

    Plain.config(fields,
      norm: {:layer, Fields.positive(fields, "layer_norm_eps", 1.0e-5)},
      norms: if(Fields.flag(fields, "use_parallel_residual", true), do: :parallel_pre, else: :pre),
      attention: [bias: true, output_bias: true, rope: Rope.read(fields, size, dims: dims, base: base, scaling: false)],
      feed_forward: {PlainFeedForward, width: width, hidden: 4 * width, bias: true, activation: "gelu_new"},
      tied: false
    )
  end

  @impl true
  def names do
    [
      {"model.embed_in", "model.embed_tokens"},
      {"model.h", "model.layers"},
      {"model.final_layer_norm", "model.norm"},
      {"model.embed_out", "lm_head"},
      {"gpt_neox.embed_in", "model.embed_tokens"},
      {"gpt_neox.layers", "model.layers"},
      {"gpt_neox.final_layer_norm", "model.norm"},
      {"embed_out", "lm_head"},
      {"attention.dense", "self_attn.o_proj"},
      {"attention.query_key_value", "self_attn.query_key_value"},
      {"mlp.dense_h_to_4h", "mlp.fc1"},
      {"mlp.dense_4h_to_h", "mlp.fc2"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    tensors
    |> Map.reject(fn {name, _array} -> name =~ ~r/\.attention\.(masked_)?bias$/ end)
    |> GroupedRows.split("query_key_value", heads(fields), heads(fields))
  end

  @impl true
  def joints, do: [GroupedRows.joint("query_key_value", &heads/1)]

  defp heads(fields), do: Fields.size(fields, "num_attention_heads")
end
