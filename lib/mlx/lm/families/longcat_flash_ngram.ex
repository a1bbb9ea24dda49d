defmodule Mlx.LM.Families.LongcatFlashNgram do
  @moduledoc false
  # LongcatFlash, whose embedding has tables for several tokens together.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.NgramEmbedding
  alias Mlx.LM.Families.{Fields, LongcatFlash}

  # A call goes through all tables.
  @most 256

  @impl true
  def config(fields) do
    config = LongcatFlash.config(fields)
    tables = Fields.size(fields, "emb_split_num", 4)
    longest = Fields.size(fields, "emb_neighbor_num", 4)
    count = tables * (longest - 1)

    if count not in 1..min(@most, config.width) do
      expected =
        "at least 2, with at most #{min(@most, config.width)} tables, which are #{tables} for each further token"

      Fields.refuse(fields, "emb_neighbor_num", expected)
    end

    ngrams =
      {NgramEmbedding,
       width: config.width,
       vocabulary: config.vocabulary,
       longest: longest,
       tables: tables,
       size: div(config.width, count),
       rows: Fields.size(fields, "ngram_vocab_size_ratio", 78) * config.vocabulary}

    [{steps, parts} | blocks] = config.blocks
    %{config | blocks: [{[{:through, :ngrams} | steps], [{:ngrams, ngrams} | parts]} | blocks]}
  end

  @impl true
  def names do
    [
      {"ngram_embeddings.word_embeddings", "embed_tokens"},
      {"ngram_embeddings.embedders", "layers.0.ngrams.embedders"},
      {"ngram_embeddings.post_projs", "layers.0.ngrams.post_projs"} | LongcatFlash.names()
    ]
  end

  @impl true
  defdelegate packing(path), to: LongcatFlash

  @impl true
  defdelegate tensors(tensors, fields), to: LongcatFlash
end
