defmodule Mlx.LM.Families.BaichuanM1 do
  @moduledoc false
  # Llama whose keys and values are mixed with those of the position before, and whose layers with a window have heads of
  # their own. The rows of the output matrix have the length 1; they have it already where the file is MLX's.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Attention
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @shortest 1.0e-7
  # A row whose length is so near to 1 is left as it is.
  @close 1.0e-5

  @impl true
  def config(fields) do
    if Fields.size(fields, "conv_window", 2) != 2, do: Fields.refuse(fields, "conv_window", "2")
    windowed = windowed(fields)

    Plain.config(fields,
      block: &[mixers: [self_attn: {Attention, attention(fields, &1 in windowed)}]],
      feed_forward: [bias: false],
      tied: Fields.flag(fields, "tie_word_embeddings", false)
    )
  end

  defp windowed(fields) do
    layers = Fields.layers(fields, "num_hidden_layers")

    case fields.map["sliding_window_layers"] do
      list when is_list(list) and length(list) <= layers -> list
      _other -> Fields.refuse(fields, "sliding_window_layers", "a list of numbers of layers, at most #{layers}")
    end
  end

  defp attention(fields, windowed?) do
    width = Fields.size(fields, "hidden_size")
    heads = Fields.size(fields, "num_attention_heads")
    shared = Fields.size(fields, "num_key_value_heads", heads)
    heads = if windowed?, do: Fields.size(fields, "num_swa_attention_heads", heads), else: heads
    shared = if windowed?, do: Fields.size(fields, "num_swa_key_value_heads", shared), else: shared

    if rem(width, heads) != 0 or rem(heads, shared) != 0 do
      Fields.refuse(fields, "num_attention_heads", "a divisor of the hidden_size and a multiple of num_key_value_heads")
    end

    [
      width: width,
      heads: heads,
      key_value_heads: shared,
      head_size: div(width, heads),
      joined: true,
      mixture: true,
      rope: Rope.read(fields, div(width, heads), scaling: false),
      window: if(windowed?, do: Fields.size(fields, "sliding_window"))
    ]
  end

  @impl true
  def names do
    [
      {"self_attn.W_pack", "self_attn.qkv_proj"},
      {"self_attn.conv_k", "self_attn.mixture.keys"},
      {"self_attn.conv_v", "self_attn.mixture.values"}
    ]
  end

  @impl true
  def tensors(tensors, _fields) do
    if is_map_key(tensors, "lm_head.scales"),
      do: tensors,
      else: Tensors.replace(tensors, ~r/^lm_head\.weight$/, fn name, array -> [{name, unit(array)}] end)
  end

  defp unit(array) do
    rows = Mlx.as_type(array, :f32)
    length = rows |> Mlx.square() |> Mlx.sum(axes: [-1], keep_axes: true) |> Mlx.sqrt() |> Mlx.add(@shortest)
    unit = rows |> Mlx.divide(length) |> Mlx.as_type(array.type)
    Mlx.select(Mlx.less(Mlx.abs(Mlx.subtract(length, 1)), @close), array, unit)
  end
end
