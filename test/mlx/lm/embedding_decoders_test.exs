defmodule Mlx.LM.EmbeddingDecodersTest do
  # Decoders as embedders and rankers, beside mlx-lm's own classes with random weights.
  use ExUnit.Case, async: false

  alias Mlx.LM.{Embedder, Encoder, Ranker}

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @script Path.expand("../../oracle/embedding_decoders.py", __DIR__)
  @tolerance 1.0e-5

  # Words are tokens; yes is 7, and no is 9.
  @words %{"yes" => 7, "no" => 9}

  setup %{tmp_dir: folder} do
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, status} = System.cmd(python, [@script, folder], stderr_to_stdout: true)
    assert status == 0, output
    :ok
  end

  defp expected(folder, name) do
    expected = Mlx.IO.load(Path.join([folder, name, "expected.safetensors"]))
    {expected, for(number <- 0..3, do: Mlx.to_list(expected["ids#{number}"]))}
  end

  defp distance(a, b) do
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  defp encode(text),
    do: for(word <- String.split(text, ~r/\W+/, trim: true), do: @words[word] || rem(byte_size(word), 100))

  test "vectors and embeddings are those of mlx-lm's classes, alone and in batches, packed and not", %{tmp_dir: folder} do
    for name <- ["qwen3", "gemma3"] do
      {expected, sequences} = expected(folder, name)
      embedder = Embedder.load(Path.join(folder, name))
      wanted = Mlx.stack(for number <- 0..3, do: expected["embedding#{number}"])
      assert distance(Embedder.embed_ids(embedder, sequences), wanted) < @tolerance
      assert distance(Embedder.embed_ids(embedder, sequences, batch_size: 1), wanted) < @tolerance
      assert Embedder.dims(embedder) == 64

      for number <- 0..3 do
        ids = Mlx.new_axis(expected["ids#{number}"], 0)
        lengths = Mlx.array([Mlx.axis_size(ids, 1)], type: :s32)
        x = embedder.encoder |> Encoder.read(ids, lengths, nil) |> Mlx.squeeze(axes: [0])
        assert distance(x, expected["x#{number}"]) < 10 * @tolerance
      end

      packed = Embedder.load(Path.join(folder, name), quantize: [bits: 8, group_size: 32], form: :quantized)
      difference = distance(Embedder.embed_ids(packed, sequences), wanted)
      assert difference > 1.0e-4 and difference < 0.1
    end
  end

  test "a ranker scores by the answers behind a pair", %{tmp_dir: folder} do
    {expected, sequences} = expected(folder, "judge")
    ranker = Ranker.load(Path.join(folder, "judge"), tokenizer: &encode/1)
    wanted = Mlx.new_axis(Mlx.stack(for number <- 0..3, do: expected["score#{number}"]), 1)
    pairs = for ids <- sequences, do: {ids, nil}
    assert distance(Ranker.score_ids(ranker, pairs, activation: :none), wanted) < 10 * @tolerance
    assert distance(Ranker.score_ids(ranker, pairs), Mlx.sigmoid(wanted)) < 10 * @tolerance

    # The question that stands around a pair, word by word.
    front =
      "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. " <>
        "Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n"

    back = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    instruction = "Given a web search query, retrieve relevant passages that answer the query"
    ask = fn instruction, document -> "<Instruct>: #{instruction}\n<Query>: who\n<Document>: #{document}" end
    asked = fn text -> {encode(front) ++ encode(text) ++ encode(back), nil} end
    written = Ranker.scores(ranker, [{"who", "nobody knows"}], activation: :none)
    ids = Ranker.score_ids(ranker, [asked.(ask.(instruction, "nobody knows"))], activation: :none)
    assert distance(written, ids) < @tolerance
    other = Ranker.scores(ranker, [{"who", "nobody knows"}], activation: :none, instruction: "Is it polite")

    assert distance(other, Ranker.score_ids(ranker, [asked.(ask.("Is it polite", "nobody knows"))], activation: :none)) <
             @tolerance

    # A document is cut, and the question is not.
    room = length(elem(asked.(ask.(instruction, "nobody")), 0))
    cut = Ranker.scores(ranker, [{"who", "nobody knows it"}], activation: :none, max_length: room)

    assert distance(cut, Ranker.score_ids(ranker, [asked.(ask.(instruction, "nobody"))], activation: :none)) <
             @tolerance

    assert [%{index: _first, score: a}, %{score: b}] = Ranker.rank(ranker, "who", ["nobody", "somebody else does"])
    assert a >= b and a < 1 and b > 0
  end

  test "what cannot be asked is refused", %{tmp_dir: folder} do
    judge = Path.join(folder, "judge")
    assert_raise Mlx.Error, ~r/Ranker.load: .*needs a tokenizer/, fn -> Ranker.load(judge) end

    twice = fn text -> Enum.flat_map(encode(text), &[&1, &1]) end
    assert_raise Mlx.Error, ~r/has 2 tokens for "yes", expected one/, fn -> Ranker.load(judge, tokenizer: twice) end
    ranker = Ranker.load(judge, tokenizer: &encode/1)

    assert_raise ArgumentError, ~r/expected :instruction to be a string/, fn ->
      Ranker.scores(ranker, [], instruction: 1)
    end

    gemma = Path.join(folder, "gemma3")
    assert_raise Mlx.Error, ~r/reads on both sides/, fn -> Ranker.load(gemma, tokenizer: &encode/1) end
    embedder = Embedder.load(gemma)
    assert_raise ArgumentError, ~r/expected tokens from 0 to 127/, fn -> Embedder.embed_ids(embedder, [[128]]) end
  end
end
