defmodule Mlx.LM.Encoder.Families.Bert do
  @moduledoc false
  # Learned positions and token types, a normalisation after each residual sum, and a plain feed-forward unit (Devlin et
  # al., "BERT", 2018).

  @behaviour Mlx.LM.Encoder.Family

  alias Mlx.LM.Activation
  alias Mlx.LM.Encoder.{Config, Settings}

  @impl true
  def config(json, classifier?) do
    positions = Settings.size!(json, "max_position_embeddings", 512)
    Config.new(parts(json) ++ [positions: positions, max_length: positions, classifier: classifier(json, classifier?)])
  end

  @doc "The parts that its relatives have, too."
  @spec parts(Settings.json()) :: keyword()
  def parts(json) do
    relative = Settings.one_of!(json, "position_embedding_type", "absolute", ["absolute"])
    Settings.refuse!([{relative != "absolute", "position_embedding_type is #{relative}"}])
    Settings.refuse!([{json["is_decoder"] == true, "the model is a decoder"}])

    [
      vocab_size: Settings.size!(json, "vocab_size"),
      hidden_size: Settings.size!(json, "hidden_size"),
      intermediate_size: Settings.size!(json, "intermediate_size"),
      heads: Settings.size!(json, "num_attention_heads"),
      layers: List.duplicate(%{rope: nil, window: nil}, Settings.layers!(json, "num_hidden_layers")),
      norm_eps: Settings.number!(json, "layer_norm_eps", 1.0e-12) * 1.0,
      activation: Settings.one_of!(json, "hidden_act", "gelu", Activation.names()),
      token_types: Settings.size!(json, "type_vocab_size", 2)
    ]
  end

  @doc "A dense layer with a hyperbolic tangent on the first position, and the labels."
  @spec classifier(Settings.json(), boolean()) :: Config.classifier() | nil
  def classifier(_json, false), do: nil

  def classifier(json, true) do
    %{labels: Settings.labels!(json), pooling: :cls, activation: "tanh", bias: true, norm: false}
  end

  @impl true
  def names do
    %{
      "embeddings.word" => "embeddings.word_embeddings",
      "embeddings.position" => "embeddings.position_embeddings",
      "embeddings.token_type" => "embeddings.token_type_embeddings",
      "embeddings.norm" => "embeddings.LayerNorm",
      "layers" => "encoder.layer",
      "attention.query_key_value" => ["attention.self.query", "attention.self.key", "attention.self.value"],
      "attention.output" => "attention.output.dense",
      "attention_norm" => "attention.output.LayerNorm",
      "feed_forward.input" => "intermediate.dense",
      "feed_forward.output" => "output.dense",
      "feed_forward_norm" => "output.LayerNorm",
      "classifier.dense" => "pooler.dense",
      "classifier.output" => "classifier"
    }
  end

  @impl true
  def prefixes, do: ["bert."]
end
