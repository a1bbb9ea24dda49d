defmodule Mlx.LM.Families.Hunyuan do
  @moduledoc false
  # HunyuanV1Dense with experts beside one that all tokens take, and with layers that share what the matrices of keys and
  # values give. Sizes may be lists, one for each layer. The matrices of files of Tencent are joined.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, GroupedRows, HunyuanV1Dense, Plain, Tensors}

  @impl true
  def config(fields) do
    attention = HunyuanV1Dense.attention(fields)
    shared = if Fields.flag(fields, "use_cla", false), do: Fields.size(fields, "cla_share_factor", 2), else: 1
    experts? = Fields.size(fields, "num_experts", 1) > 1

    Plain.config(fields,
      attention: attention,
      block:
        &[
          attention: shares(&1, shared),
          feed_forward: if(experts?, do: {Experts, experts(fields, &1)}, else: [bias: false])
        ],
      tied: true
    )
  end

  defp shares(_layer, 1), do: []
  defp shares(layer, factor) when rem(layer, factor) == 0, do: [shares: {:gives, :projected_keys}]
  defp shares(_layer, _factor), do: [shares: {:takes, :projected_keys}]

  defp experts(fields, layer) do
    hidden = Fields.size(fields, "intermediate_size")
    both? = Fields.flag(fields, "use_mixed_mlp_moe", false)

    [
      width: Fields.size(fields, "hidden_size"),
      experts: Fields.size(fields, "num_experts"),
      top: of_layer(fields, "moe_topk", layer, 1),
      hidden: of_layer(fields, "moe_intermediate_size", layer, hidden),
      shared: if(both?, do: hidden * of_layer(fields, "num_shared_expert", layer, 1))
    ]
  end

  defp of_layer(fields, key, layer, default) do
    if is_list(fields.map[key]) do
      sizes = Fields.list(fields, key, Fields.layers(fields, "num_hidden_layers"), nil)
      fields = %{fields | map: %{fields.map | key => Enum.at(sizes, layer)}}
      Fields.size(fields, key)
    else
      Fields.size(fields, key, default)
    end
  end

  @impl true
  def names, do: [{"mlp.gate.wg", "mlp.gate"}, {"mlp.shared_mlp", "mlp.shared_expert"} | HunyuanV1Dense.names()]

  @impl true
  def tensors(tensors, fields) do
    heads = Fields.size(fields, "num_attention_heads")

    tensors
    |> GroupedRows.split("qkv_proj", heads, Fields.size(fields, "num_key_value_heads", heads))
    |> Tensors.replace(~r/\.gate_and_up_proj\./, fn name, array ->
      [up, gate] = Mlx.split(array, 2)
      for {part, rows} <- [gate: gate, up: up], do: {String.replace(name, "gate_and_up", "#{part}"), rows}
    end)
    |> Tensors.stack_experts()
  end
end
