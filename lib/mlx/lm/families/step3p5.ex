defmodule Mlx.LM.Families.Step3p5 do
  @moduledoc false
  # Normalised heads, whose outputs have a gate each; layers with a window have other numbers of heads, and layers bases and
  # rotated parts of their own; experts with a bias for the choice, a shared one, and bounded gates in some layers. In
  # files of Hugging Face, weights of normalisations are one less. Layers that predict further tokens are left out.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Rope}

  @per_layer ~w(layer_types partial_rotary_factors rope_theta swiglu_limits swiglu_limits_shared)

  @impl true
  def config(fields) do
    count = Fields.layers(fields, "num_hidden_layers")

    fields =
      fields
      |> own_layers(count)
      |> Fields.put_new("rms_norm_eps", 1.0e-5)
      |> Fields.put_new("sliding_window", 512)
      |> Fields.put_new("num_key_value_heads", Fields.size(fields, "num_attention_groups"))

    windows = Plain.windows(fields, &(rem(&1, 2) == 0))
    experts = layers_with_experts(fields, count)
    gate = if Fields.flag(fields, "use_head_wise_attn_gate", true), do: {:heads, :sigmoid}

    Plain.config(fields,
      attention: [bias: false, output_bias: false, gate: gate] ++ Qwen3.attention(fields),
      block: fn layer ->
        window = Enum.at(windows, layer)

        forward =
          if layer in experts,
            do: experts(fields, layer),
            else: [activation: activation(fields, "swiglu_limits_shared", layer)]

        attention = [window: window, rope: rope(fields, layer)] ++ heads(fields, window)
        [attention: attention, feed_forward: forward]
      end,
      tied: false
    )
  end

  # Lists may speak of the layers that are left out, too.
  defp own_layers(fields, count) do
    map =
      for {key, value} <- fields.map,
          into: %{},
          do: {key, if(key in @per_layer and is_list(value), do: Enum.take(value, count), else: value)}

    %{fields | map: map}
  end

  defp heads(_fields, nil), do: []

  defp heads(fields, _window) do
    case Fields.under(fields, "attention_other_setting") do
      nil -> []
      own -> [heads: Fields.size(own, "num_attention_heads"), key_value_heads: Fields.size(own, "num_attention_groups")]
    end
  end

  defp rope(fields, layer) do
    size = Fields.size(fields, "head_dim")
    kind = Enum.at(listed(fields, "layer_types"), layer, "full_attention")
    scaled = listed(fields, "yarn_only_types")
    base = if is_list(fields.map["rope_theta"]), do: number(fields, "rope_theta", layer), else: Rope.theta(fields)

    part =
      if listed(fields, "partial_rotary_factors") == [], do: 1.0, else: number(fields, "partial_rotary_factors", layer)

    Rope.read(fields, size,
      base: base,
      dims: trunc(size * part),
      traditional: false,
      scaling: scaled == [] or kind in scaled
    )
  end

  defp listed(fields, key) do
    list = fields.map[key] || []
    if is_list(list), do: list, else: Fields.refuse(fields, key, "a list")
  end

  defp number(fields, key, layer) do
    number = Enum.at(listed(fields, key), layer)

    if is_number(number) and number > 0 and number < 1.0e30,
      do: number,
      else: Fields.refuse(fields, key, "a list of positive numbers, one for each layer")
  end

  defp activation(fields, key, layer) do
    case Enum.at(listed(fields, key), layer) do
      limit when is_number(limit) and limit > 0 -> {"bounded_silu", limit}
      _none -> "silu"
    end
  end

  defp layers_with_experts(fields, count) do
    case Fields.text(fields, "moe_layers_enum", nil) do
      text when text in [nil, ""] -> Enum.to_list(1..(count - 1)//1)
      text -> for number <- String.split(text, ","), do: layer(fields, Integer.parse(String.trim(number)))
    end
  end

  defp layer(_fields, {layer, ""}), do: layer
  defp layer(fields, _other), do: Fields.refuse(fields, "moe_layers_enum", "numbers of layers with commas between them")

  defp experts(fields, layer) do
    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "moe_num_experts"),
     top: Fields.size(fields, "moe_top_k"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     activation: activation(fields, "swiglu_limits", layer),
     scores: :sigmoid,
     correction: true,
     normalize: Fields.flag(fields, "norm_expert_weight", true),
     scale: Fields.number(fields, "moe_router_scaling_factor", 3.0),
     shared: Fields.size(fields, "share_expert_dim"),
     shared_activation: activation(fields, "swiglu_limits_shared", layer)}
  end

  @impl true
  def names do
    [
      {"mlp.gate.gate", "mlp.gate"},
      {"mlp.gate.router_bias", "mlp.e_score_correction_bias"},
      {"mlp.share_expert", "mlp.shared_expert"}
    ]
  end

  @original ~r/^(model\.layers\.\d+)\.(moe|share_expert)\./

  @impl true
  def tensors(tensors, fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    tensors = Map.reject(tensors, fn {name, _array} -> name =~ ~r/\.mtp/ or further?(name, count) end)

    if Enum.any?(tensors, fn {name, _array} -> name =~ @original end),
      do: Map.new(tensors, fn {name, array} -> {ours(name), shifted(name, array)} end),
      else: tensors
  end

  defp further?("model.layers." <> rest, count), do: match?({layer, _rest} when layer >= count, Integer.parse(rest))
  defp further?(_name, _count), do: false

  defp ours(name) do
    name
    |> String.replace(".share_expert.", ".mlp.shared_expert.")
    |> String.replace(".moe.router_bias", ".mlp.e_score_correction_bias")
    |> String.replace(".moe.gate.", ".mlp.gate.")
    |> String.replace(".moe.", ".mlp.switch_mlp.")
  end

  defp shifted(name, array), do: if(name =~ ~r/norm\.weight$/, do: Mlx.add(array, 1), else: array)
end
