defmodule Mlx.LM.QuantizedEncoderTest do
  use ExUnit.Case, async: true

  alias Mlx.{EncoderOracle, TinyEncoder}
  alias Mlx.LM.{Embedder, Encoder, Ranker}
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear}

  @moduletag :tmp_dir
  @tolerance 2.0e-5
  @script Path.expand("../../oracle/quantized_encoder.py", __DIR__)

  @sequences [[2, 17, 3], [2, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 3]]

  # Sizes that groups of 32 fit into.
  @families [
    {"bert", %{"intermediate_size" => 64}},
    {"distilbert", %{"hidden_dim" => 64}},
    {"roberta", %{"intermediate_size" => 64}},
    {"modernbert", %{"intermediate_size" => 64}},
    {"nomic_bert", %{"n_inner" => 64}}
  ]

  @affine %{"group_size" => 32, "bits" => 4}

  defp make(family, changes, folder, settings, tables) do
    EncoderOracle.make(family, folder, changes)
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    arguments = [@script, folder, JSON.encode!(settings), if(tables, do: "1", else: "0")]
    {output, status} = System.cmd(python, arguments, stderr_to_stdout: true)
    assert status == 0, output
    {Path.join(folder, "quantized"), Path.join(folder, "unpacked")}
  end

  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  defp kinds(encoder), do: for({path, %kind{}} <- Mlx.NN.layers(encoder), into: %{}, do: {path, kind})

  defp assert_vectors(encoder, expected) do
    for {ids, expected} <- Enum.zip(@sequences, expected) do
      vectors = encoder |> Encoder.call(Mlx.array([ids])) |> Mlx.as_type(:f32)
      assert distance(vectors[0], Mlx.array(expected, type: :f32)) < @tolerance
    end
  end

  for {family, changes} <- @families do
    @tag :oracle
    test "a quantized #{family} gives what its numbers give in numpy, in both forms", %{tmp_dir: folder} do
      {quantized, unpacked} = make(unquote(family), unquote(Macro.escape(changes)), folder, @affine, true)
      %{"vectors" => expected} = EncoderOracle.run(unpacked, @sequences)

      for form <- [:quantized, :dense] do
        encoder = Embedder.load(quantized, form: form).encoder
        assert_vectors(encoder, expected)
        kinds = kinds(encoder)
        assert kinds["embeddings.word"] == if(form == :dense, do: Embedding, else: QuantizedEmbedding)
        assert kinds["layers.1.attention.query_key_value"] == if(form == :dense, do: Linear, else: QuantizedLinear)
      end
    end
  end

  for {mode, settings} <- [
        {"mxfp4", %{"group_size" => 32, "bits" => 4, "mode" => "mxfp4"}},
        {"mxfp8", %{"group_size" => 32, "bits" => 8, "mode" => "mxfp8"}},
        {"nvfp4", %{"group_size" => 16, "bits" => 4, "mode" => "nvfp4"}},
        {"six bits", %{"group_size" => 32, "bits" => 6}},
        {"layers of their own",
         Map.put(@affine, "encoder.layer.1.intermediate.dense", %{"group_size" => 32, "bits" => 8})}
      ] do
    @tag :oracle
    test "an encoder quantized with #{mode} is read", %{tmp_dir: folder} do
      {quantized, unpacked} =
        make("bert", %{"intermediate_size" => 64}, folder, unquote(Macro.escape(settings)), true)

      %{"vectors" => expected} = EncoderOracle.run(unpacked, @sequences)
      for form <- [:quantized, :dense], do: assert_vectors(Embedder.load(quantized, form: form).encoder, expected)
    end
  end

  @tag :oracle
  test "what is quantized when it is loaded is what is quantized in a file", %{tmp_dir: folder} do
    {quantized, unpacked} =
      make("bert", %{"intermediate_size" => 64, "num_labels" => 2}, folder, @affine, false)

    %{"vectors" => expected, "logits" => logits} = EncoderOracle.run(unpacked, @sequences)
    assert_vectors(Embedder.load(folder, quantize: [group_size: 32]).encoder, expected)

    [a, b] = [
      Embedder.load(folder, quantize: [group_size: 32, bits: 4]),
      Embedder.load(quantized, form: :quantized)
    ]

    assert kinds(a.encoder) == kinds(b.encoder)
    assert Embedder.dims(a) == 32
    assert distance(Embedder.embed_ids(a, @sequences), Embedder.embed_ids(b, @sequences)) == 0.0

    ranker = Ranker.load(folder, quantize: [group_size: 32, bits: 4])
    scores = Ranker.score_ids(ranker, for(ids <- @sequences, do: {ids, nil}), activation: :none)
    assert distance(scores, Mlx.array(logits, type: :f32)) < @tolerance
  end

  test "layers are chosen by a function, and matrices that no group fits into stay as they are", %{tmp_dir: folder} do
    TinyEncoder.save(folder, %{"hidden_size" => 32, "intermediate_size" => 48})
    kinds = fn options -> folder |> Embedder.load(quantize: options) |> Map.fetch!(:encoder) |> kinds() end
    all = kinds.(group_size: 32)
    assert all["layers.0.feed_forward.input"] == QuantizedLinear
    assert all["layers.0.feed_forward.output"] == Linear
    assert all["embeddings.word"] == QuantizedEmbedding
    assert all["embeddings.position"] == Embedding
    some = kinds.(group_size: 32, where: fn path, _layer -> String.starts_with?(path, "layers.1.") end)
    assert some["embeddings.word"] == Embedding
    assert some["layers.0.attention.output"] == Linear
    assert some["layers.1.attention.output"] == QuantizedLinear
    # No group of 64 fits.
    assert QuantizedLinear not in Map.values(kinds.(true))
    assert kinds.(false) == kinds.(nil)
  end

  test "types of numbers", %{tmp_dir: folder} do
    TinyEncoder.save(folder, %{"hidden_size" => 32, "intermediate_size" => 64})
    exact = folder |> Embedder.load() |> Embedder.embed_ids(@sequences)

    for type <- [:f32, :f16, :bf16] do
      embedder = Embedder.load(folder, type: type, quantize: [bits: 8, group_size: 32])
      assert {:f32, true} == with(x <- Embedder.embed_ids(embedder, @sequences), do: {x.type, distance(x, exact) < 0.2})
      assert embedder.encoder.embeddings.word.scales.type == type
    end
  end

  @tag :embedder
  test "a quantized model finds what the model finds" do
    path = System.fetch_env!("MLX_TEST_EMBEDDER")
    texts = ["The cat sits outside", "A cat is in the garden", "I like pasta", "Numbers are fun", "Where is my dog?"]
    exact = path |> Embedder.load() |> Embedder.embed(texts)

    for {options, least} <- [{[bits: 8], 0.999}, {[bits: 4, group_size: 32], 0.95}, {[mode: :mxfp8], 0.99}] do
      vectors = path |> Embedder.load(quantize: options) |> Embedder.embed(texts)
      cosines = Mlx.sum(Mlx.multiply(exact, vectors), axes: [1])
      assert {options, cosines |> Mlx.reduce_min() |> Mlx.to_number() > least} == {options, true}
    end
  end

  test "wrong options and files are told", %{tmp_dir: folder} do
    TinyEncoder.save(folder, %{"hidden_size" => 32, "intermediate_size" => 64})

    for {options, problem} <- [
          {[quantize: 4], ~r/^Mlx.LM.Embedder.load: expected :quantize to be true, false or a keyword list, got: 4/},
          {[quantize: [bits: 7]], ~r/^Mlx.LM.Embedder.load: expected :bits to be one of/},
          {[quantize: [recipe: :mixed_2_6]], ~r/a :recipe is for decoders/},
          {[form: :thin], ~r/^Mlx.LM.Embedder.load: expected :form to be :quantized or :dense, got: :thin/},
          {[form: :dense, quantize: true], ~r/expected no :quantize with form: :dense/}
        ] do
      assert_raise ArgumentError, problem, fn -> Embedder.load(folder, options) end
    end

    [tensors, config] = [
      TinyEncoder.tensors(TinyEncoder.config(%{"hidden_size" => 32})),
      TinyEncoder.config(%{"hidden_size" => 32})
    ]

    name = "encoder.layer.0.attention.self.query"
    {weight, scales, biases} = Mlx.quantize(tensors[name <> ".weight"], group_size: 32, bits: 4)
    packed = %{"#{name}.weight" => weight, "#{name}.scales" => scales, "#{name}.biases" => biases}
    settings = %{"group_size" => 32, "bits" => 4}

    for {changes, more, problem} <- [
          {settings, packed, ~r/has #{name}.scales and no scales of the other parts/},
          {%{"group_size" => 32, "bits" => 9}, packed, ~r/scales of the other parts|bits is 9/},
          {"four", packed, ~r/quantization is "four"/},
          {nil, packed, ~r/has the shape|no place for the tensor/}
        ] do
      TinyEncoder.write(folder, "config.json", Map.put(config, "quantization", changes))
      Mlx.IO.save(Path.join(folder, "model.safetensors"), Map.merge(tensors, more))
      assert_raise Mlx.Error, problem, fn -> Embedder.load(folder) end
    end
  end
end
