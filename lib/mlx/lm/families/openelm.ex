defmodule Mlx.LM.Families.OpenELM do
  @moduledoc false
  # Each layer has numbers of heads and of hidden features of its own; heads are normalised; q, k and v, and the gate and
  # the other factor, are one matrix each.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Rope}

  @impl true
  def config(fields) do
    count = Fields.layers(fields, "num_transformer_layers")
    heads = sizes(fields, "num_query_heads", count)
    shared = sizes(fields, "num_kv_heads", count)
    size = Fields.size(fields, "head_dim")
    width = Fields.size(fields, "model_dim")

    own = %{
      "hidden_size" => width,
      "num_hidden_layers" => count,
      "num_attention_heads" => hd(heads),
      "num_key_value_heads" => hd(shared)
    }

    fields =
      %{fields | map: Map.merge(fields.map, own)}
      |> Fields.put_new("rms_norm_eps", 1.0e-6)
      |> Fields.put_new("max_position_embeddings", Fields.size(fields, "max_context_length", 2048))

    norm = if Fields.flag(fields, "normalize_qk_projections", true), do: Qwen3.attention(fields), else: []
    rope = Rope.read(fields, size, base: Fields.positive(fields, "rope_freq_constant", 10_000), scaling: false)
    hidden = hidden(fields, count, width)

    Plain.config(fields,
      attention: [joined: true, bias: false, output_bias: false, rope: rope] ++ norm,
      block: fn layer ->
        [
          attention: [heads: Enum.at(heads, layer), key_value_heads: Enum.at(shared, layer)],
          feed_forward: [joined: true, hidden: Enum.at(hidden, layer)]
        ]
      end,
      tied: Fields.flag(fields, "share_input_output_layers", true)
    )
  end

  defp sizes(fields, key, count) do
    sizes = Fields.list(fields, key, count, nil)
    if sizes && Enum.all?(sizes, &(is_integer(&1) and &1 > 0)), do: sizes, else: refuse(fields, key, count)
  end

  # A multiple of the divisor near the product, and not more than a tenth below it.
  defp hidden(fields, count, width) do
    divisor = Fields.size(fields, "ffn_dim_divisor")
    factors = Fields.list(fields, "ffn_multipliers", count, nil) || refuse(fields, "ffn_multipliers", count)

    for factor <- factors do
      if not (is_number(factor) and factor > 0 and factor < 1.0e6), do: refuse(fields, "ffn_multipliers", count)
      wanted = factor * width
      near = max(divisor, div(trunc(wanted + divisor / 2), divisor) * divisor)
      if near < 0.9 * wanted, do: near + divisor, else: near
    end
  end

  defp refuse(fields, key, count), do: Fields.refuse(fields, key, "a list of #{count} positive numbers")

  @impl true
  def names do
    [
      {"transformer.token_embeddings", "model.embed_tokens"},
      {"transformer", "model"},
      {"attn_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"attn.out_proj", "self_attn.o_proj"},
      {"attn", "self_attn"},
      {"ffn.proj_1", "mlp.gate_up_proj"},
      {"ffn.proj_2", "mlp.down_proj"}
    ]
  end
end
