defmodule Mlx.LM.HTTP.Rerank do
  @moduledoc false
  # `/v1/rerank`: documents in the order of how well they answer a query, in the form that Jina and Cohere have.

  alias Mlx.LM.HTTP.{Failure, Fields, Models, Reply, Settings}
  alias Mlx.LM.Ranker

  @document [{"text", {:required, :string}, :keep}]

  @rows [
    {"model", :string, :keep},
    {"query", {:required, :string}, :keep},
    {"documents", {:required, {:list, {:either, [:string, {:fields, @document}]}}}, :keep},
    {"top_n", {:integer, 1, nil}, :keep},
    {"return_documents", :boolean, :keep}
  ]

  @most 2048

  @spec call(map(), Settings.t()) :: Reply.t()
  def call(body, settings) do
    kept = Fields.read(body, @rows).kept
    {name, ranker} = Models.other!(settings.rankers, kept["model"], "ranker")
    documents = for document <- kept["documents"], do: if(is_map(document), do: document["text"], else: document)

    if documents == [] or length(documents) > @most,
      do: Failure.fail!(:invalid, "documents must have from 1 to #{@most} documents", "documents")

    ranked = ranked(ranker, kept["query"], documents) |> Enum.take(kept["top_n"] || length(documents))

    Reply.json(200, %{
      model: name,
      object: "list",
      results: Enum.map(ranked, &result(&1, kept["return_documents"] == true))
    })
  end

  defp ranked(ranker, query, documents) do
    Ranker.rank(ranker, query, documents)
  rescue
    error in [ArgumentError, Mlx.Error] ->
      Failure.fail!(:invalid, "documents: #{Exception.message(error)}", "documents")
  end

  defp result(entry, documents?) do
    result = %{index: entry.index, relevance_score: entry.score}
    if documents?, do: Map.put(result, :document, %{text: entry.document}), else: result
  end
end
