defmodule Mlx.LM.Families.Lille do
  @moduledoc false
  # Llama with other names and fields, whose neighbouring features rotate. The matrices of q, k and v are one.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @step 256

  @impl true
  def config(fields) do
    width = Fields.size(fields, "n_embd")
    # The size is the nearest multiple of the step to 8/3 of the width, and at half of a step the even one.
    steps = div(8 * width, 3) / @step
    whole = trunc(steps)
    hidden = if steps - whole > 0.5 or (steps - whole == 0.5 and rem(whole, 2) == 1), do: whole + 1, else: whole

    fields =
      Enum.reduce(
        [
          {"hidden_size", width},
          {"num_attention_heads", Fields.size(fields, "n_head")},
          {"num_key_value_heads", Fields.size(fields, "n_kv_heads")},
          {"num_hidden_layers", Fields.layers(fields, "n_layer")},
          {"intermediate_size", hidden * @step},
          {"max_position_embeddings", Fields.size(fields, "block_size")}
        ],
        fields,
        fn {key, value}, fields -> Fields.put_new(fields, key, value) end
      )

    Plain.config(fields,
      norm: {:rms, Fields.positive(fields, "layer_norm_eps")},
      attention: [joined: true, rope: Rope.read(fields, Plain.head_size(fields), traditional: true, scaling: false)],
      tied: true
    )
  end

  @impl true
  def names do
    [
      {"transformer.tok_embeddings", "model.embed_tokens"},
      {"transformer.layers", "model.layers"},
      {"transformer.norm", "model.norm"},
      {"attention.norm", "input_layernorm"},
      {"attention.qkv_proj", "self_attn.qkv_proj"},
      {"attention.out_proj", "self_attn.o_proj"},
      {"feed_forward.norm", "post_attention_layernorm"},
      {"feed_forward", "mlp"}
    ]
  end
end
