defmodule Mlx.LM.Encoder.Families.ModernBert do
  @moduledoc false
  # Rotary positions, a normalisation before each unit but for the first one, gated feed-forward units, and layers that see
  # a window of positions between those that see all (Warner et al., "Smarter, Better, Faster, Longer", 2024).

  @behaviour Mlx.LM.Encoder.Family

  alias Mlx.LM.Activation
  alias Mlx.LM.Encoder.{Config, Settings}

  @whole "full_attention"
  @local "sliding_attention"

  @impl true
  def config(json, classifier?) do
    Settings.refuse!([{json["rope_scaling"] != nil, "rope_scaling is set"}])

    Config.new(
      vocab_size: Settings.size!(json, "vocab_size"),
      hidden_size: Settings.size!(json, "hidden_size"),
      intermediate_size: Settings.size!(json, "intermediate_size"),
      heads: Settings.size!(json, "num_attention_heads"),
      layers: layers(json),
      norm_eps: Settings.number!(json, ["norm_eps", "layer_norm_eps"], 1.0e-5) * 1.0,
      norm_bias: Settings.boolean!(json, "norm_bias", false),
      norms: :before,
      first_norm: false,
      final_norm: true,
      attention_bias: Settings.boolean!(json, "attention_bias", false),
      activation: Settings.one_of!(json, "hidden_activation", "gelu", Activation.names()),
      feed_forward_bias: Settings.boolean!(json, "mlp_bias", false),
      gated: true,
      max_length: Settings.size!(json, "max_position_embeddings", 8192),
      classifier: if(classifier?, do: classifier(json))
    )
  end

  defp layers(json) do
    # The window counts both sides.
    window = div(Settings.size!(json, "local_attention", 128), 2)
    Settings.refuse!([{window == 0, "local_attention is 1"}])
    kinds = %{@whole => %{rope: base(json, @whole), window: nil}, @local => %{rope: base(json, @local), window: window}}
    for type <- types(json, Settings.layers!(json, "num_hidden_layers")), do: kinds[type]
  end

  defp types(%{"layer_types" => [_ | _] = types}, count) do
    if length(types) != count or Enum.any?(types, &(&1 not in [@whole, @local])) do
      Settings.fail!("layer_types is #{inspect(types, limit: 8)}, expected #{count} of #{@whole} and #{@local}")
    end

    types
  end

  defp types(%{"layer_types" => other}, _count) when other != nil do
    Settings.fail!("layer_types is #{inspect(other, limit: 8)}, expected a list of #{@whole} and #{@local}")
  end

  defp types(json, count) do
    every = Settings.size!(json, "global_attn_every_n_layers", 3)
    for index <- 0..(count - 1), do: if(rem(index, every) == 0, do: @whole, else: @local)
  end

  # Older files have the bases under names of their own.
  defp base(%{"rope_parameters" => %{} = parameters} = json, type) when is_map_key(parameters, type) do
    %{^type => rope} = parameters
    if not is_map(rope), do: Settings.fail!("rope_parameters has #{inspect(rope)} for #{type}, expected an object")
    kind = Map.get(rope, "rope_type", "default")
    Settings.refuse!([{kind != "default", "rope_parameters has the rope_type #{inspect(kind)}"}])

    if rope["rope_theta"],
      do: Settings.number!(rope, "rope_theta"),
      else: base(Map.delete(json, "rope_parameters"), type)
  end

  defp base(%{"rope_parameters" => other}, _type) when other != nil and not is_map(other) do
    Settings.fail!("rope_parameters is #{inspect(other, limit: 8)}, expected an object")
  end

  defp base(json, @whole), do: Settings.number!(json, "global_rope_theta", 160_000.0)
  defp base(json, @local), do: Settings.number!(json, ["local_rope_theta", "global_rope_theta"], 10_000.0)

  defp classifier(json) do
    %{
      labels: Settings.labels!(json),
      pooling: if(Settings.one_of!(json, "classifier_pooling", "cls", ["cls", "mean"]) == "cls", do: :cls, else: :mean),
      activation: Settings.one_of!(json, "classifier_activation", "gelu", Activation.names()),
      bias: Settings.boolean!(json, "classifier_bias", false),
      norm: true
    }
  end

  @impl true
  def names do
    %{
      "embeddings.word" => "embeddings.tok_embeddings",
      "layers" => "layers",
      "attention.query_key_value" => "attn.Wqkv",
      "attention.output" => "attn.Wo",
      "attention_norm" => "attn_norm",
      "feed_forward.input" => "mlp.Wi",
      "feed_forward.output" => "mlp.Wo",
      "feed_forward_norm" => "mlp_norm",
      "norm" => "final_norm",
      "classifier.dense" => "head.dense",
      "classifier.norm" => "head.norm",
      "classifier.output" => "classifier"
    }
  end

  @impl true
  def prefixes, do: ["model."]
end
