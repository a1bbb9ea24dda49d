defmodule Mlx.LM.Families.RWKV7 do
  @moduledoc false
  # A recurrence in each block, and a feed-forward layer that sees the position before; a normalisation after the embedding.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{ChannelMixing, TimeMixing}
  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @in_heads ~r/\.attn\.(k_k|k_a|g_norm\.weight|g_norm\.bias)$/

  @impl true
  def config(fields) do
    norm = {:layer, Fields.positive(fields, "norm_eps", 1.0e-5)}
    {width, hidden} = {Fields.size(fields, "hidden_size"), Fields.size(fields, "intermediate_size")}

    Plain.config(fields,
      norm: norm,
      embedding_norm: norm,
      block: &[mixers: [attn: {TimeMixing, [first: &1 == 0] ++ time_mixing(fields, width)}]],
      feed_forward: {ChannelMixing, width: width, hidden: hidden}
    )
  end

  defp time_mixing(fields, width) do
    [
      width: width,
      head_size: Fields.size(fields, "head_dim"),
      decay_rank: Fields.size(fields, "decay_low_rank_dim"),
      rate_rank: Fields.size(fields, "a_low_rank_dim"),
      value_rank: Fields.size(fields, "v_low_rank_dim"),
      gate_rank: Fields.size(fields, "gate_low_rank_dim")
    ]
  end

  @impl true
  def names do
    [
      {"model.embeddings", "model.embed_tokens"},
      {"model.layers.0.pre_norm", "model.embedding_norm"},
      {"attn_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"ffn", "mlp"},
      {"lora.0", "down"},
      {"lora.2", "up"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    size = Fields.size(fields, "head_dim")

    Tensors.replace(tensors, @in_heads, fn name, array ->
      {count, flat?} = {Mlx.size(array), tuple_size(array.shape) == 1}
      [{name, if(flat? and rem(count, size) == 0, do: Mlx.reshape(array, {div(count, size), size}), else: array)}]
    end)
  end
end
