defmodule Mlx.LM.Families.RecurrentGemma do
  @moduledoc false
  # Linear recurrences with gates, and attention with a window and one head of keys and values, by a pattern that repeats.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.GatedRecurrence
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @impl true
  def config(fields) do
    width = Fields.size(fields, "hidden_size")
    heads = Fields.size(fields, "num_attention_heads")
    pattern = pattern(fields)
    size = Plain.head_size(fields)

    recurrence =
      {GatedRecurrence,
       width: width,
       inner: Fields.size(fields, "lru_width", width),
       heads: heads,
       kernel: Fields.size(fields, "conv1d_width", 4)}

    Plain.config(Fields.put_new(fields, "num_key_value_heads", 1),
      norm: {:rms_plus_one, Fields.positive(fields, "rms_norm_eps", 1.0e-6)},
      attention: [
        bias: false,
        output_bias: true,
        window: Fields.size(fields, "attention_window_size"),
        rope: Rope.read(fields, size, dims: Rope.partial(fields, size, 0.5), traditional: false)
      ],
      block: &[mixers: [temporal_block: if(attention?(pattern, &1), do: :attention, else: recurrence)]],
      feed_forward: [
        hidden: div(Fields.size(fields, "intermediate_size"), 2),
        bias: true,
        activation: "gelu_pytorch_tanh"
      ],
      embedding_scale: if(Fields.flag(fields, "embeddings_scale_by_sqrt_dim", true), do: :math.sqrt(width)),
      logit_cap: Fields.positive(fields, "logits_soft_cap", nil)
    )
  end

  # The two sizes of the model have different names for it.
  defp pattern(fields) do
    pattern = fields.map["block_types"] || fields.map["_block_types"]

    if not (is_list(pattern) and pattern != [] and Enum.all?(pattern, &(&1 in ["recurrent", "attention"]))) do
      Fields.refuse(fields, "block_types", ~s(a list of "recurrent" and "attention"))
    end

    pattern
  end

  defp attention?(pattern, layer), do: Enum.at(pattern, rem(layer, length(pattern))) == "attention"

  @impl true
  def names do
    [
      {"temporal_pre_norm", "input_layernorm"},
      {"channel_pre_norm", "post_attention_layernorm"},
      {"mlp_block", "mlp"},
      {"model.final_norm", "model.norm"}
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.kernels(tensors)
end
