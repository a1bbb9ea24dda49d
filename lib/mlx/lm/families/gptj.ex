defmodule Mlx.LM.Families.GPTJ do
  @moduledoc false
  # One layer normalisation before both parts, which are added together; pairs of neighbours in a part of each head rotate.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    width = Fields.size(fields, "n_embd")

    fields =
      fields
      |> Fields.put_new("hidden_size", width)
      |> Fields.put_new("num_attention_heads", Fields.size(fields, "n_head"))
      |> Fields.put_new("num_hidden_layers", Fields.layers(fields, "n_layer"))
      |> Fields.put_new("max_position_embeddings", Fields.size(fields, "n_positions", 2048))

    size = Plain.head_size(fields)

    rope =
      Rope.read(fields, size,
        dims: Fields.size(fields, "rotary_dim", size),
        base: 10_000,
        traditional: true,
        scaling: false
      )

    Plain.config(fields,
      norm: {:layer, Fields.positive(fields, "layer_norm_epsilon", 1.0e-5)},
      norms: :parallel,
      attention: [bias: false, output_bias: false, rope: rope],
      feed_forward: {PlainFeedForward, width: width, hidden: 4 * width, bias: true, activation: "gelu_new"},
      tied: false,
      output_bias: true
    )
  end

  @impl true
  def names do
    blocks = [
      {"ln_1", "input_layernorm"},
      {"attn.out_proj", "self_attn.o_proj"},
      {"attn", "self_attn"},
      {"mlp.fc_in", "mlp.fc1"},
      {"mlp.fc_out", "mlp.fc2"}
    ]

    top = [{"wte", "embed_tokens"}, {"ln_f", "norm"}, {"h", "layers"}]
    blocks ++ for {theirs, ours} <- top, prefix <- ["model.", "transformer."], do: {prefix <> theirs, "model." <> ours}
  end

  @impl true
  def tensors(tensors, _fields) do
    Map.reject(tensors, fn {name, _array} -> name =~ ~r/\.self_attn\.(masked_)?bias$/ end)
  end
end
