defmodule Mlx.LM.MiniLMTest do
  use ExUnit.Case, async: true

  alias Mlx.EncoderOracle
  alias Mlx.LM.Embedder

  @moduletag :embedder
  @moduletag :oracle
  @moduletag timeout: 900_000

  @texts [
    "The cat sits outside",
    "A man is playing guitar",
    "The cat plays in the garden",
    "Wie geht es dir heute?",
    "",
    "a",
    "Quantum mechanics describes nature at the scale of atoms and subatomic particles.",
    "北京是中国的首都",
    "🙂 emoji and ünïcödé",
    "def add(a, b): return a + b",
    "1234567890 3.14159 $99.95",
    "UPPER CASE",
    "What is the capital of France?",
    "Paris is the capital of France.",
    "  spaces   and\ttabs\nand lines ",
    "antidisestablishmentarianism",
    "I love pasta",
    "Do you like pizza?",
    String.duplicate("one sentence, said again and again. ", 12),
    String.duplicate("longer than the model reads ", 100)
  ]

  setup_all do
    folder = System.fetch_env!("MLX_TEST_EMBEDDER")
    %{"ids" => ids, "vectors" => vectors} = EncoderOracle.texts(folder, @texts)
    %{folder: folder, ids: ids, expected: Mlx.array(vectors, type: :f32), mini_lm: Embedder.load(folder)}
  end

  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  test "is read with the settings of its files", %{mini_lm: embedder} do
    assert {embedder.pooling, embedder.normalize, embedder.max_length} == {[:mean], true, 256}
    assert {embedder.similarity, Embedder.dims(embedder)} == {:cosine, 384}
  end

  test "its embeddings are those of numpy", %{mini_lm: embedder, ids: ids, expected: expected} do
    assert length(ids) == 20
    assert distance(Embedder.embed_ids(embedder, ids), expected) < 1.0e-5
  end

  test "like texts are alike", %{mini_lm: embedder, ids: ids} do
    vectors = Embedder.embed_ids(embedder, ids)
    alike = Embedder.similarity(embedder, vectors, vectors) |> Mlx.to_list()

    at = fn a, b ->
      Enum.at(Enum.at(alike, Enum.find_index(@texts, &(&1 == a))), Enum.find_index(@texts, &(&1 == b)))
    end

    assert at.("The cat sits outside", "The cat plays in the garden") > 0.5
    assert at.("What is the capital of France?", "Paris is the capital of France.") > 0.8
    assert at.("The cat sits outside", "A man is playing guitar") < 0.3
  end

  test "its embeddings of texts are those of Python's tokenizers and numpy", %{mini_lm: embedder, expected: expected} do
    assert distance(Embedder.embed(embedder, @texts), expected) < 1.0e-5
  end
end
