defmodule Mlx.LM.Families.MiMoV2Flash do
  @moduledoc false
  # Layers with a window and without have heads, sizes and bases of their own, and sinks where the configuration says so;
  # values are of another size, and have a factor; the experts of GLM 4.5 are in the layers that a list names.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, GLM4MoE, Plain, Rope, Tensors}

  @impl true
  defdelegate packing(path), to: Mlx.LM.Families.GLM4MoE

  @impl true
  def config(fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    windowed = flags(fields, "hybrid_layer_pattern", count)
    experts = flags(fields, "moe_layer_freq", count)

    Plain.config(fields,
      norm: {:rms, Fields.positive(fields, "layernorm_epsilon")},
      block: fn layer ->
        own = [attention: attention(fields, Enum.at(windowed, layer))]
        if Enum.at(experts, layer), do: own ++ [feed_forward: experts(fields)], else: own
      end,
      tied: false
    )
  end

  defp flags(fields, key, count) do
    list = Fields.list(fields, key, count, nil) || Fields.refuse(fields, key, "a list of #{count} numbers")
    Enum.map(list, &(&1 == 1))
  end

  defp attention(fields, windowed?) do
    {prefix, sinks} =
      if windowed?, do: {"swa_", "add_swa_attention_sink_bias"}, else: {"", "add_full_attention_sink_bias"}

    size = Fields.size(fields, prefix <> "head_dim")

    rope =
      Rope.read(fields, size,
        base: Fields.positive(fields, prefix <> "rope_theta"),
        dims: Rope.partial(fields, size),
        traditional: false,
        scaling: false
      )

    [
      heads: Fields.size(fields, prefix <> "num_attention_heads"),
      key_value_heads: Fields.size(fields, prefix <> "num_key_value_heads"),
      head_size: size,
      value_size: Fields.size(fields, prefix <> "v_head_dim"),
      value_scale: Fields.number(fields, "attention_value_scale", nil),
      window: if(windowed?, do: Fields.size(fields, "sliding_window_size")),
      sinks: Fields.flag(fields, sinks, false),
      rope: rope,
      bias: false,
      output_bias: false
    ]
  end

  defp experts(fields) do
    {module, options} = GLM4MoE.experts(fields)
    {module, Keyword.update!(options, :normalize, &(&1 and options[:top] > 1))}
  end

  @impl true
  def names, do: [{"self_attn.attention_sink_bias", "self_attn.sinks"} | GLM4MoE.names()]

  @impl true
  def tensors(tensors, _fields) do
    tensors |> Map.reject(fn {name, _array} -> String.starts_with?(name, "model.mtp") end) |> Tensors.stack_experts()
  end
end
