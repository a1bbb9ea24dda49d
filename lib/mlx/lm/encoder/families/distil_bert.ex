defmodule Mlx.LM.Encoder.Families.DistilBert do
  @moduledoc false
  # BERT without types of tokens, and with other names (Sanh et al., "DistilBERT", 2019).

  @behaviour Mlx.LM.Encoder.Family

  alias Mlx.LM.Activation
  alias Mlx.LM.Encoder.{Config, Settings}

  # No file says it.
  @norm_eps 1.0e-12

  @impl true
  def config(json, classifier?) do
    positions = Settings.size!(json, "max_position_embeddings", 512)

    Config.new(
      vocab_size: Settings.size!(json, "vocab_size"),
      hidden_size: Settings.size!(json, "dim"),
      intermediate_size: Settings.size!(json, "hidden_dim"),
      heads: Settings.size!(json, "n_heads"),
      layers: List.duplicate(%{rope: nil, window: nil}, Settings.layers!(json, "n_layers")),
      norm_eps: @norm_eps,
      activation: Settings.one_of!(json, "activation", "gelu", Activation.names()),
      positions: positions,
      max_length: positions,
      classifier: if(classifier?, do: classifier(json))
    )
  end

  defp classifier(json) do
    %{labels: Settings.labels!(json), pooling: :cls, activation: "relu", bias: true, norm: false}
  end

  @impl true
  def names do
    %{
      "embeddings.word" => "embeddings.word_embeddings",
      "embeddings.position" => "embeddings.position_embeddings",
      "embeddings.norm" => "embeddings.LayerNorm",
      "layers" => "transformer.layer",
      "attention.query_key_value" => ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
      "attention.output" => "attention.out_lin",
      "attention_norm" => "sa_layer_norm",
      "feed_forward.input" => "ffn.lin1",
      "feed_forward.output" => "ffn.lin2",
      "feed_forward_norm" => "output_layer_norm",
      "classifier.dense" => "pre_classifier",
      "classifier.output" => "classifier"
    }
  end

  @impl true
  def prefixes, do: ["distilbert."]
end
