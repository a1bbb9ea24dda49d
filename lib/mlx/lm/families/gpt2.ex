defmodule Mlx.LM.Families.GPT2 do
  @moduledoc false
  # Learned positions, layer normalisations and biases everywhere; the matrices of q, k and v are one. In files of
  # Hugging Face, whose names do not begin with `model`, the matrices of the blocks are transposed.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, Plain}

  @matrix ~r/\.(qkv_proj|o_proj|fc1|fc2)\.weight$/

  @impl true
  def config(fields) do
    width = Fields.size(fields, "n_embd")
    positions = Fields.size(fields, "n_positions", 1024)

    fields
    |> Fields.put_new("hidden_size", width)
    |> Fields.put_new("num_attention_heads", Fields.size(fields, "n_head"))
    |> Fields.put_new("num_hidden_layers", Fields.layers(fields, "n_layer"))
    |> Plain.config(
      norm: {:layer, Fields.positive(fields, "layer_norm_epsilon", 1.0e-5)},
      attention: [bias: true, output_bias: true, joined: true, rope: nil],
      feed_forward: {PlainFeedForward, width: width, hidden: 4 * width, bias: true, activation: "gelu_new"},
      positions: positions,
      context_length: positions,
      tied: true
    )
  end

  @impl true
  def names do
    top = [{"wte", "embed_tokens"}, {"wpe", "embed_positions"}, {"ln_f", "norm"}]

    blocks = [
      {"model.h", "model.layers"},
      {"transformer.h", "transposed.layers"},
      {"h", "transposed.layers"},
      {"ln_1", "input_layernorm"},
      {"ln_2", "post_attention_layernorm"},
      {"attn.c_attn", "self_attn.qkv_proj"},
      {"attn.c_proj", "self_attn.o_proj"},
      {"mlp.c_fc", "mlp.fc1"},
      {"mlp.c_proj", "mlp.fc2"}
    ]

    blocks ++
      for {theirs, ours} <- top, prefix <- ["model.", "transformer.", ""], do: {prefix <> theirs, "model." <> ours}
  end

  @impl true
  def tensors(tensors, _fields) do
    for {name, array} <- tensors, not (name =~ ~r/\.attn\.(masked_)?bias$/), into: %{} do
      case name do
        "transposed." <> rest -> {"model." <> rest, if(name =~ @matrix, do: Mlx.transpose(array), else: array)}
        _plain -> {name, array}
      end
    end
  end
end
