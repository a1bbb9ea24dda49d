defmodule Mlx.LM.Families.Phi3Small do
  @moduledoc false
  # Layer normalisations and biases everywhere; in some layers a head sees the last blocks of positions and each so many of
  # those before them; sizes are divided out of the scores and the logits. Rows of the gate and the other factor alternate.
  # Tokens that nobody uses are never written.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, GroupedRows, Plain, Rope, Tensors}

  # Where a configuration does not list them.
  @unused [100_256, 100_258, 100_259, 100_260, 100_264, 100_265] ++ Enum.to_list(100_267..100_351)

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)
    interval = Fields.size(fields, "dense_attention_every_n_layers")

    attention = [
      bias: true,
      output_bias: true,
      scale: if(scaled?(fields), do: multiplier(fields, "mup_attn_multiplier", 1.0) / size),
      rope: %{rope(fields, size) | scale: Fields.positive(fields, "rope_position_scale", 1.0)}
    ]

    fields
    |> Fields.put_new("max_position_embeddings", 8192)
    |> Plain.config(
      norm: {:layer, Fields.positive(fields, "layer_norm_epsilon", 1.0e-5)},
      attention: attention,
      block: &if(rem(&1, interval) == 0, do: [attention: [blocks: blocks(fields)]], else: []),
      feed_forward: [
        hidden: Fields.size(fields, "ff_intermediate_size"),
        bias: true,
        activation: {"clipped_swiglu", Fields.positive(fields, "gegelu_limit", 20.0)}
      ],
      embedding_scale: multiplier(fields, "mup_embedding_multiplier", 10.0),
      logit_scale: 1 / multiplier(fields, "mup_width_multiplier", 8.0),
      unused: unused(fields),
      tied: true
    )
  end

  defp rope(fields, size) do
    Rope.read(fields, size, base: Fields.positive(fields, "rope_embedding_base", 1_000_000), scaling: false)
  end

  defp scaled?(fields), do: Fields.flag(fields, "mup_use_scaling", true)

  defp multiplier(fields, key, default), do: Fields.positive(fields, key, default)

  defp blocks(fields) do
    {Fields.size(fields, "blocksparse_block_size", 64), Fields.size(fields, "blocksparse_num_local_blocks", 16),
     Fields.size(fields, "blocksparse_vert_stride", 8)}
  end

  defp unused(fields) do
    case fields.map["dummy_token_indices"] do
      nil ->
        Enum.filter(@unused, &(&1 < Fields.size(fields, "vocab_size")))

      tokens ->
        valid? =
          is_list(tokens) and Enum.all?(tokens, &(is_integer(&1) and &1 in 0..(Fields.size(fields, "vocab_size") - 1)))

        if valid?, do: tokens, else: Fields.refuse(fields, "dummy_token_indices", "a list of tokens of the vocabulary")
    end
  end

  @impl true
  def names, do: [{"self_attn.dense", "self_attn.o_proj"}, {"model.final_layernorm", "model.norm"}]

  @impl true
  def tensors(tensors, fields) do
    tensors
    |> GroupedRows.split("query_key_value", Fields.size(fields, "num_attention_heads"), shared(fields))
    |> Tensors.replace(~r/mlp\.up_proj\./, fn name, array ->
      [gate, up] = array |> pairs() |> Mlx.unstack(axis: 1)
      [{String.replace(name, "up_proj", "gate_proj"), gate}, {name, up}]
    end)
  end

  @impl true
  def joints do
    [
      GroupedRows.joint("query_key_value", &shared/1),
      {"mlp.up_proj", ["mlp.gate_proj", "mlp.up_proj"],
       fn parts, _fields -> parts |> Mlx.stack(axis: 1) |> Mlx.flatten(axes: [0, 1]) end}
    ]
  end

  defp shared(fields), do: Fields.size(fields, "num_key_value_heads", Fields.size(fields, "num_attention_heads"))

  defp pairs(%Mlx.Array{shape: shape} = array) do
    [rows | rest] = Tuple.to_list(shape)
    Mlx.reshape(array, List.to_tuple([div(rows, 2), 2 | rest]))
  end
end
