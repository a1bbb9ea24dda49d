defmodule Mlx.LM.Families.Phixtral do
  @moduledoc false
  # Phi 2 with experts that are not gated, and with fields and names of its own. The matrices of q, k and v are one.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @impl true
  def config(fields) do
    width = Fields.size(fields, "model_dim", 2560)

    fields =
      for {key, value} <- [
            {"hidden_size", width},
            {"vocab_size", Fields.size(fields, "num_vocab", 51_200)},
            {"num_attention_heads", Fields.size(fields, "num_heads", 32)},
            {"num_hidden_layers", Fields.size(fields, "num_layers", 32)}
          ],
          reduce: fields,
          do: (fields -> %{fields | map: Map.put(fields.map, key, value)})

    size = div(width, Fields.size(fields, "num_attention_heads"))
    dims = Fields.size(fields, "rotary_dim", 32)

    Plain.config(fields,
      norm: {:layer, 1.0e-5},
      norms: :parallel,
      attention: [
        joined: true,
        bias: true,
        output_bias: true,
        key_value_heads: Fields.size(fields, "num_attention_heads"),
        head_size: size,
        rope: Rope.read(fields, size, dims: dims, base: 10_000.0, scaling: false)
      ],
      feed_forward:
        {Experts,
         width: width,
         hidden: 4 * width,
         experts: Fields.size(fields, "num_local_experts", 4),
         top: Fields.size(fields, "num_experts_per_tok", 2),
         scores: :softmax_of_chosen,
         gated: false,
         bias: true,
         activation: "gelu_new"},
      tied: false,
      output_bias: true
    )
  end

  @impl true
  def names do
    [
      {"transformer.embd.wte", "model.embed_tokens"},
      {"transformer.h", "model.layers"},
      {"lm_head.ln", "model.norm"},
      {"lm_head.linear", "lm_head"},
      {"ln", "input_layernorm"},
      {"mixer.Wqkv", "self_attn.qkv_proj"},
      {"mixer.out_proj", "self_attn.o_proj"},
      {"moe.mlp", "mlp.experts"},
      {"moe.switch_mlp.fc1", "mlp.switch_mlp.up_proj"},
      {"moe.switch_mlp.fc2", "mlp.switch_mlp.down_proj"},
      {"moe", "mlp"}
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors, %{"fc1" => "up_proj", "fc2" => "down_proj"})
end
