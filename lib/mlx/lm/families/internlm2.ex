defmodule Mlx.LM.Families.InternLM2 do
  @moduledoc false
  # Llama with other names. The matrices of q, k and v are one: for each head of keys its queries, the key and the value.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @impl true
  def config(fields) do
    bias = Fields.flag(fields, "bias", true)

    fields
    |> Fields.put_new("max_position_embeddings", 32_768)
    |> Plain.config(attention: [bias: bias, output_bias: bias])
  end

  @impl true
  def names do
    [
      {"model.tok_embeddings", "model.embed_tokens"},
      {"output", "lm_head"},
      {"attention_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"attention.wqkv", "self_attn.wqkv"},
      {"attention.wo", "self_attn.o_proj"},
      {"feed_forward.w1", "mlp.gate_proj"},
      {"feed_forward.w2", "mlp.down_proj"},
      {"feed_forward.w3", "mlp.up_proj"}
    ]
  end

  @impl true
  def tensors(tensors, fields) do
    heads = Fields.size(fields, "num_attention_heads")
    shared = Fields.size(fields, "num_key_value_heads", heads)
    Tensors.replace(tensors, ~r/self_attn\.wqkv\./, &split(&1, &2, div(heads, shared), shared))
  end

  @impl true
  def joints do
    parts = for part <- ~w(q k v), do: "self_attn.#{part}_proj"
    [{"self_attn.wqkv", parts, &join/2}]
  end

  defp join(parts, fields) do
    shared = Fields.size(fields, "num_key_value_heads", Fields.size(fields, "num_attention_heads"))

    parts
    |> Enum.map(fn %{shape: shape} = part ->
      [rows | rest] = Tuple.to_list(shape)
      Mlx.reshape(part, List.to_tuple([shared, div(rows, shared) | rest]))
    end)
    |> Mlx.concatenate(axis: 1)
    |> Mlx.flatten(axes: [0, 1])
  end

  defp split(name, array, group, shared) do
    [rows | rest] = Tuple.to_list(array.shape)
    size = div(rows, shared * (group + 2))
    grouped = Mlx.reshape(array, List.to_tuple([shared, group + 2, size | rest]))

    for {part, {first, count}} <- [q: {0, group}, k: {group, 1}, v: {group + 1, 1}] do
      block = Mlx.slice(grouped, [0, first | List.duplicate(0, length(rest) + 1)], [shared, count, size | rest])

      {String.replace(name, ".wqkv.", ".#{part}_proj."),
       Mlx.reshape(block, List.to_tuple([shared * count * size | rest]))}
    end
  end
end
