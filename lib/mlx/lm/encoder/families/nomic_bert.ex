defmodule Mlx.LM.Encoder.Families.NomicBert do
  @moduledoc false
  # BERT with rotary in place of learned positions, gated feed-forward units, and layers without biases (Nussbaum et al.,
  # "Nomic Embed", 2024). Its first files have GPT-2's names for the sizes.

  @behaviour Mlx.LM.Encoder.Family

  alias Mlx.LM.Activation
  alias Mlx.LM.Encoder.{Config, Settings}
  alias Mlx.LM.Encoder.Families.Bert

  @base 1000.0

  @impl true
  def config(json, classifier?) do
    refuse(json)

    Config.new(
      vocab_size: Settings.size!(json, "vocab_size"),
      hidden_size: Settings.size!(json, ["hidden_size", "n_embd"]),
      intermediate_size: Settings.size!(json, ["intermediate_size", "n_inner"]),
      heads: Settings.size!(json, ["num_attention_heads", "n_head"]),
      layers:
        List.duplicate(%{rope: base(json), window: nil}, Settings.layers!(json, ["num_hidden_layers", "n_layer"])),
      norm_eps: Settings.number!(json, ["layer_norm_eps", "layer_norm_epsilon"], 1.0e-12) * 1.0,
      token_types: Settings.size!(json, "type_vocab_size", 2),
      attention_bias: Settings.boolean!(json, "qkv_proj_bias", false),
      activation: activation(json),
      feed_forward_bias: Settings.boolean!(json, "mlp_fc1_bias", false),
      gated: true,
      max_length: max_length(json),
      classifier: Bert.classifier(json, classifier?)
    )
  end

  defp refuse(json) do
    moe = json["num_experts"] not in [nil, 0, 1] and json["moe_every_n_layers"] not in [nil, 0]

    Settings.refuse!([
      {moe, "the model is a mixture of experts"},
      {json["rope_scaling"] != nil, "rope_scaling is set"},
      {json["prenorm"] == true, "prenorm is true"},
      {json["parallel_block"] == true, "parallel_block is true"},
      {json["use_rms_norm"] == true, "use_rms_norm is true"},
      {json["rotary_emb_interleaved"] == true, "rotary_emb_interleaved is true"},
      {json["rotary_emb_fraction"] not in [nil, 1, 1.0],
       "rotary_emb_fraction is #{inspect(json["rotary_emb_fraction"])}"},
      {json["rotary_emb_scale_base"] != nil, "rotary_emb_scale_base is set"},
      {Map.get(json, "qkv_proj_bias", false) != Map.get(json, "mlp_fc1_bias", false),
       "only one of qkv_proj_bias and mlp_fc1_bias is true"}
    ])
  end

  defp base(%{"rope_parameters" => %{} = rope}) do
    kind = Map.get(rope, "rope_type", "default")
    Settings.refuse!([{kind != "default", "rope_parameters has the rope_type #{inspect(kind)}"}])
    Settings.number!(rope, "rope_theta", @base)
  end

  defp base(json), do: Settings.number!(json, "rotary_emb_base", @base)

  # The first files name the unit, not the activation of its gate.
  defp activation(json) do
    case Settings.one_of!(json, ["hidden_act", "activation_function"], "silu", ["swiglu", "geglu" | Activation.names()]) do
      "swiglu" -> "silu"
      "geglu" -> "gelu"
      name -> name
    end
  end

  # Where longer texts are read with other angles, they are cut at the length of the training.
  defp max_length(json) do
    longest = Settings.size!(json, ["max_position_embeddings", "n_positions"], 2048)

    if json["rotary_scaling_factor"],
      do: min(longest, Settings.size!(json, "max_trained_positions", 2048)),
      else: longest
  end

  @impl true
  def names do
    %{
      "embeddings.word" => "embeddings.word_embeddings",
      "embeddings.token_type" => "embeddings.token_type_embeddings",
      "embeddings.norm" => "emb_ln",
      "layers" => "encoder.layers",
      "attention.query_key_value" => "attn.Wqkv",
      "attention.output" => "attn.out_proj",
      "attention_norm" => "norm1",
      "feed_forward.input" => ["mlp.fc12", "mlp.fc11"],
      "feed_forward.output" => "mlp.fc2",
      "feed_forward_norm" => "norm2",
      "classifier.dense" => "pooler.dense",
      "classifier.output" => "classifier"
    }
  end

  @impl true
  def prefixes, do: ["nomic_bert.", "bert."]
end
