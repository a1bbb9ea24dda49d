defmodule Mlx.LM.Families.IQuestLoopCoder do
  @moduledoc false
  # Llama whose stream goes through all blocks twice, with mixed attention the second time. The gates of all blocks stand
  # beside the blocks in files.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.LoopedAttention
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    if Fields.size(fields, "loop_num", 2) != 2, do: Fields.refuse(fields, "loop_num", "2")
    window = Fields.size(fields, "loop_window_size", 64)
    rope = Rope.read(fields, Plain.head_size(fields), traditional: false)
    attention = Plain.attention(fields, rope: rope)

    Plain.config(fields,
      block: &[mixers: [self_attn: {LoopedAttention, attention: attention, window: window, layer: &1}]],
      tied: Fields.flag(fields, "tie_word_embeddings", false),
      loops: 2,
      loop_norm: false
    )
  end

  @impl true
  def names, do: [{"self_attn", "self_attn.attention"}]

  @impl true
  def tensors(tensors, _fields) do
    Map.new(tensors, fn {name, array} ->
      {Regex.replace(~r/^model\.gate_projections\.(\d+)\./, name, "model.layers.\\1.self_attn.loop_gate."), array}
    end)
  end

  @impl true
  def saved(path, array, _fields) do
    [{Regex.replace(~r/^model\.layers\.(\d+)\.self_attn\.loop_gate\./, path, "model.gate_projections.\\1."), array}]
  end
end
