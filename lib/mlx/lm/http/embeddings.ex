defmodule Mlx.LM.HTTP.Embeddings do
  @moduledoc false
  # `/v1/embeddings`.

  alias Mlx.LM.Embedder
  alias Mlx.LM.Encoder.Text
  alias Mlx.LM.HTTP.{Failure, Fields, Models, Reply, Settings}

  @rows [
    {"model", :string, :keep},
    {"input", {:required, {:either, [:string, {:list, :any}]}}, :keep},
    {"encoding_format", {:one_of, ["float", "base64"]}, :keep},
    {"dimensions", {:integer, 1, nil}, :keep},
    {"user", :string, :nothing}
  ]

  # As many texts as OpenAI's interface takes.
  @most 2048

  @spec call(map(), Settings.t()) :: Reply.t()
  def call(body, settings) do
    kept = Fields.read(body, @rows).kept
    {name, embedder} = Models.other!(settings.embedders, kept["model"], "embedder")
    {kind, input} = input(kept["input"])
    dims = Embedder.dims(embedder)

    if (kept["dimensions"] || dims) > dims,
      do: Failure.fail!(:invalid, "dimensions is more than the #{dims} that the model has", "dimensions")

    {vectors, tokens} = embed(embedder, kind, input)
    vectors = shortened(vectors, kept["dimensions"], dims)

    data =
      for {vector, index} <- Enum.with_index(vectors),
          do: %{object: "embedding", index: index, embedding: encoded(vector, kept["encoding_format"])}

    Reply.json(200, %{object: "list", data: data, model: name, usage: %{prompt_tokens: tokens, total_tokens: tokens}})
  end

  defp input(text) when is_binary(text), do: input([text])
  defp input([]), do: Failure.fail!(:invalid, "input is empty", "input")
  defp input(list) when length(list) > @most, do: Failure.fail!(:invalid, "input has more than #{@most} texts", "input")

  defp input(list) do
    cond do
      Enum.all?(list, &is_binary/1) -> {:texts, list}
      tokens?(list) -> {:ids, [list]}
      Enum.all?(list, &(is_list(&1) and &1 != [] and tokens?(&1))) -> {:ids, list}
      true -> Failure.fail!(:invalid, "input must be a string, tokens, or a list of these", "input")
    end
  end

  defp tokens?(list), do: Enum.all?(list, &(is_integer(&1) and &1 >= 0))

  defp embed(embedder, :texts, texts) do
    {embedder |> Embedder.embed(texts) |> Mlx.to_list(), Enum.sum(for text <- texts, do: tokens(embedder, text))}
  rescue
    error in [ArgumentError, Mlx.Error] -> Failure.fail!(:invalid, "input: #{Exception.message(error)}", "input")
  end

  defp embed(embedder, :ids, ids) do
    {embedder |> Embedder.embed_ids(ids) |> Mlx.to_list(), Enum.sum(for list <- ids, do: length(list))}
  rescue
    error in [ArgumentError, Mlx.Error] -> Failure.fail!(:invalid, "input: #{Exception.message(error)}", "input")
  end

  defp tokens(embedder, text) do
    prompt = Map.get(embedder.prompts, embedder.default_prompt, "")
    {ids, _types} = Text.single(embedder.text, prompt <> text, embedder.max_length)
    length(ids)
  end

  # The first numbers, with the length 1 again, of models that are trained for it.
  defp shortened(vectors, dims, dims), do: vectors
  defp shortened(vectors, nil, _dims), do: vectors
  defp shortened(vectors, count, _dims), do: for(vector <- vectors, do: vector |> Enum.take(count) |> of_length_1())

  defp of_length_1(vector) do
    length = :math.sqrt(Enum.sum(for number <- vector, do: number * number))
    if length == 0, do: vector, else: for(number <- vector, do: number / length)
  end

  defp encoded(vector, "base64"), do: Base.encode64(for number <- vector, into: <<>>, do: <<number::little-float-32>>)
  defp encoded(vector, _float), do: vector
end
