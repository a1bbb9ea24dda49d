defmodule Mlx.LM.Encoder.Families.Roberta do
  @moduledoc false
  # BERT whose positions begin after that of the padding, whose pairs have two separators between them, and whose
  # classifier has the dense layer. So are XLM-R and CamemBERT (Liu et al., "RoBERTa", 2019; Conneau et al., "Unsupervised
  # Cross-lingual Representation Learning at Scale", 2019).

  @behaviour Mlx.LM.Encoder.Family

  alias Mlx.LM.Encoder.{Config, Settings}
  alias Mlx.LM.Encoder.Families.Bert

  @impl true
  def config(json, classifier?) do
    positions = Settings.size!(json, "max_position_embeddings", 514)
    first = padding(json) + 1
    Settings.refuse!([{first >= positions, "all #{positions} positions stand before the first one, #{first}"}])

    Config.new(
      Bert.parts(json) ++
        [
          positions: positions,
          position_offset: first,
          max_length: positions - first,
          separators: 2,
          classifier: Bert.classifier(json, classifier?)
        ]
    )
  end

  defp padding(%{"pad_token_id" => 0}), do: 0
  defp padding(json), do: Settings.size!(json, "pad_token_id", 1)

  @impl true
  def names do
    Map.merge(Bert.names(), %{"classifier.dense" => "classifier.dense", "classifier.output" => "classifier.out_proj"})
  end

  @impl true
  def prefixes, do: ["roberta."]
end
