defmodule Mlx.LM.EncoderTest do
  use ExUnit.Case, async: true

  alias Mlx.{EncoderOracle, TinyEncoder}
  alias Mlx.LM.{Embedder, Encoder, Ranker}
  alias Mlx.LM.Encoder.{Attention, Config, TensorNames}

  doctest Mlx.LM.Encoder
  doctest Mlx.LM.Encoder.TensorNames

  @moduletag :tmp_dir
  @tolerance 1.0e-5

  @ids [[2, 17, 3], [2, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 3]]
  @long [for(index <- 0..59, do: 2 + rem(index * index, 58))]

  @families [
    {"bert", %{}},
    {"bert", %{"hidden_act" => "relu"}},
    {"distilbert", %{}},
    {"roberta", %{}},
    {"xlm-roberta", %{}},
    {"modernbert", %{}},
    {"modernbert", %{"norm_bias" => true, "attention_bias" => true, "mlp_bias" => true}},
    {"nomic_bert", %{}}
  ]

  @classifiers [
    {"bert", %{"num_labels" => 1}},
    {"distilbert", %{"num_labels" => 2}},
    {"roberta", %{"num_labels" => 3}},
    {"modernbert", %{"num_labels" => 1}},
    {"modernbert", %{"num_labels" => 2, "classifier_pooling" => "mean", "classifier_bias" => true}},
    {"nomic_bert", %{"num_labels" => 2}}
  ]

  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  # The vectors of all sequences at once, those of each without its padding.
  defp vectors(encoder, sequences) do
    longest = sequences |> Enum.map(&length/1) |> Enum.max()
    ids = Mlx.array(for ids <- sequences, do: ids ++ List.duplicate(0, longest - length(ids)))
    x = Encoder.call(encoder, ids, Mlx.array(Enum.map(sequences, &length/1)))
    for {ids, row} <- Enum.with_index(sequences), do: x[[row, 0..(length(ids) - 1)]]
  end

  for {family, changes} <- @families do
    @tag :oracle
    test "the vectors of #{family} with #{inspect(changes)} are those of numpy", %{tmp_dir: folder} do
      EncoderOracle.make(unquote(family), folder, unquote(Macro.escape(changes)))
      sequences = @ids ++ @long
      %{"vectors" => expected} = EncoderOracle.run(folder, sequences)
      encoder = Embedder.load(folder).encoder

      for {vectors, expected} <- Enum.zip(vectors(encoder, sequences), expected) do
        assert distance(vectors, Mlx.array(expected, type: :f32)) < @tolerance
      end

      [ids | _] = @ids
      alone = encoder |> Encoder.call(Mlx.array([ids]))
      assert distance(alone[0], Mlx.array(hd(expected), type: :f32)) < @tolerance
    end
  end

  @tag :oracle
  test "the types of tokens count", %{tmp_dir: folder} do
    for family <- ["bert", "nomic_bert"] do
      folder = EncoderOracle.make(family, Path.join(folder, family))
      types = [0, 0, 1, 1, 1]
      ids = [2, 20, 3, 21, 3]
      %{"vectors" => [expected]} = EncoderOracle.run(folder, [{ids, types}])
      encoder = Embedder.load(folder).encoder
      x = Encoder.call(encoder, Mlx.array([ids]), Mlx.array([5]), Mlx.array([types]))
      assert distance(x[0], Mlx.array(expected, type: :f32)) < @tolerance
      assert distance(x, Encoder.call(encoder, Mlx.array([ids]))) > 0.01
    end
  end

  for {family, changes} <- @classifiers do
    @tag :oracle
    test "the scores of #{family} with #{inspect(changes)} are those of numpy", %{tmp_dir: folder} do
      EncoderOracle.make(unquote(family), folder, unquote(Macro.escape(changes)))

      types =
        if unquote(family) in ["bert", "nomic_bert"],
          do: &[0, 0 | List.duplicate(1, length(&1) - 2)],
          else: fn _ -> nil end

      sequences = for ids <- @ids, do: {ids, types.(ids)}
      %{"logits" => expected} = EncoderOracle.run(folder, sequences)
      ranker = Ranker.load(folder)
      scores = Ranker.score_ids(ranker, sequences, activation: :none)
      assert distance(scores, Mlx.array(expected, type: :f32)) < @tolerance

      # An embedder leaves the classifier out.
      assert %Encoder{classifier: nil} = Embedder.load(folder).encoder
    end
  end

  # Blocks of queries, and windows at their edges. Angles of late positions have the digits of f32 in Python's transformers,
  # too, whose vectors are 1.2e-5 away, of numbers up to 4.5.
  @tolerance_of_long 5.0e-5

  @tag :oracle
  test "a long text is read in blocks", %{tmp_dir: folder} do
    EncoderOracle.make("modernbert", folder, %{"num_hidden_layers" => 2, "global_attn_every_n_layers" => 2})
    ids = for index <- 0..1899, do: 2 + rem(index * index + 7 * index, 58)
    %{"vectors" => [expected]} = EncoderOracle.run(folder, [ids])
    encoder = Embedder.load(folder).encoder
    assert distance(hd(vectors(encoder, [ids])), Mlx.array(expected, type: :f32)) < @tolerance_of_long

    # A shorter one beside it, which leaves whole blocks of padding.
    [_long, short] = vectors(encoder, [ids, hd(@ids)])
    assert distance(short, hd(vectors(encoder, [hd(@ids)]))) < @tolerance
  end

  # The files of the first ModernBERT and those of later versions.
  @tag :oracle
  test "the windows and the bases of ModernBERT are read under all of their names", %{tmp_dir: folder} do
    EncoderOracle.make("modernbert", folder)
    path = Path.join(folder, "config.json")
    %{"vectors" => [expected]} = EncoderOracle.run(folder, @long)
    config = path |> File.read!() |> JSON.decode!()

    newer =
      config
      |> Map.drop(["global_rope_theta", "local_rope_theta", "global_attn_every_n_layers"])
      |> Map.merge(%{
        "layer_types" => ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters" => %{
          "full_attention" => %{"rope_type" => "default", "rope_theta" => 160_000.0},
          "sliding_attention" => %{"rope_type" => "default", "rope_theta" => 10_000.0}
        }
      })

    File.write!(path, JSON.encode!(newer))
    assert distance(hd(vectors(Embedder.load(folder).encoder, @long)), Mlx.array(expected, type: :f32)) < @tolerance
  end

  @tag :oracle
  test "Nomic's BERT is read with the names of later versions", %{tmp_dir: folder} do
    EncoderOracle.make("nomic_bert", folder)
    %{"vectors" => [expected]} = EncoderOracle.run(folder, @long)

    TinyEncoder.write(folder, "config.json", %{
      "model_type" => "nomic_bert",
      "vocab_size" => 60,
      "hidden_size" => 32,
      "intermediate_size" => 48,
      "num_attention_heads" => 4,
      "num_hidden_layers" => 3,
      "max_position_embeddings" => 90,
      "layer_norm_eps" => 1.0e-12,
      "hidden_act" => "silu",
      "rope_parameters" => %{"rope_type" => "default", "rope_theta" => 1000.0}
    })

    assert distance(hd(vectors(Embedder.load(folder).encoder, @long)), Mlx.array(expected, type: :f32)) < @tolerance
  end

  describe "a folder" do
    defp refusal(folder, load \\ &Embedder.load/1) do
      error = assert_raise Mlx.Error, fn -> load.(folder) end
      Exception.message(error)
    end

    defp save(folder, changes \\ %{}, files \\ %{}), do: TinyEncoder.save(folder, changes, files)

    defp resave(folder, fun) do
      path = Path.join(folder, "model.safetensors")
      Mlx.IO.save(path, fun.(TinyEncoder.tensors()))
      folder
    end

    test "that is not there, or is a file, is named", %{tmp_dir: folder} do
      assert refusal(folder <> "/none") == "Mlx.LM.Embedder.load: cannot read #{folder}/none: no such file or folder"
      File.write!(folder <> "/file", "")
      assert refusal(folder <> "/file") =~ "/file is a file, expected a folder"
      assert refusal(folder) =~ "Mlx.LM.Embedder.load: cannot read #{folder}/config.json: no such file"
      assert refusal(folder, &Ranker.load/1) =~ "Mlx.LM.Ranker.load: cannot read"
    end

    test "has a configuration that is an object of JSON", %{tmp_dir: folder} do
      for {text, said} <- [
            {"", " is no JSON: "},
            {"[1]", ": expected a JSON object, got: [1]"},
            {"{", " is no JSON: "}
          ] do
        File.write!(folder <> "/config.json", text)
        assert refusal(folder) =~ "#{folder}/config.json#{said}"
      end
    end

    for {changes, said} <- [
          {%{"model_type" => "gpt9"},
           "model_type is \"gpt9\", and the encoders that can be loaded are bert, camembert, distilbert"},
          {%{"model_type" => nil}, "model_type is missing, expected one of bert"},
          {%{"hidden_size" => "16"}, "hidden_size is \"16\", expected a positive integer"},
          {%{"hidden_size" => 0}, "hidden_size is 0, expected a positive integer"},
          {%{"hidden_size" => 17}, "the width 17 is no multiple of the 2 heads"},
          {%{"vocab_size" => nil}, "vocab_size is missing, expected a positive integer"},
          {%{"vocab_size" => 10 ** 30}, "vocab_size is 1000000000000000000000000000000, expected"},
          {%{"num_hidden_layers" => 10 ** 9}, "num_hidden_layers is 1000000000, expected an integer from 1 to 1024"},
          {%{"hidden_act" => "step"}, "hidden_act is \"step\", expected one of \"gelu\""},
          {%{"layer_norm_eps" => -1}, "layer_norm_eps is -1, expected a positive number"},
          {%{"position_embedding_type" => "relative_key"},
           "position_embedding_type is \"relative_key\", expected one of"},
          {%{"is_decoder" => true}, "the model is a decoder, which is not supported"},
          {%{"model_type" => "roberta", "pad_token_id" => 50}, "all 40 positions stand before the first one, 51"},
          {%{"model_type" => "modernbert", "layer_types" => ["full_attention"]},
           "layer_types is [\"full_attention\"], expected 2"},
          {%{"model_type" => "modernbert", "rope_parameters" => %{"full_attention" => 1}},
           "rope_parameters has 1 for full_attention"},
          {%{"model_type" => "modernbert", "rope_parameters" => %{"full_attention" => %{"rope_type" => "yarn"}}},
           "rope_parameters has the rope_type \"yarn\", which is not supported"},
          {%{"model_type" => "modernbert", "num_attention_heads" => 16}, "heads of 1 features can't be rotated"},
          {%{"model_type" => "nomic_bert", "prenorm" => true}, "prenorm is true, which is not supported"},
          {%{"model_type" => "nomic_bert", "num_experts" => 8, "moe_every_n_layers" => 2},
           "the model is a mixture of experts"}
        ] do
      test "with #{inspect(changes)} is refused", %{tmp_dir: folder} do
        TinyEncoder.write(folder, "config.json", TinyEncoder.config(unquote(Macro.escape(changes))))
        assert refusal(folder) =~ "Mlx.LM.Embedder.load: config.json: " <> unquote(said)
      end
    end

    test "with sizes that no machine has is refused without their memory", %{tmp_dir: folder} do
      save(folder)

      TinyEncoder.write(
        folder,
        "config.json",
        TinyEncoder.config(%{"vocab_size" => 90_000_000, "hidden_size" => 9_000_000})
      )

      assert refusal(folder) =~ "an array of shape {90000000, 9000000} and 4 bytes an element exceeds the array limit"
    end

    test "without weights is refused", %{tmp_dir: folder} do
      TinyEncoder.write(folder, "config.json", TinyEncoder.config())
      assert refusal(folder) =~ "#{folder} has neither model.safetensors nor model.safetensors.index.json"
      File.write!(folder <> "/pytorch_model.bin", "")
      assert refusal(folder) =~ "; pytorch_model.bin is not read, and Python's transformers can save it as safetensors"
    end

    test "lacks a tensor, or has one too many", %{tmp_dir: folder} do
      save(folder)
      resave(folder, &Map.delete(&1, "encoder.layer.1.attention.self.key.weight"))

      assert refusal(folder) =~
               "the file has no tensor \"encoder.layer.1.attention.self.key.weight\"; it has 36 tensors"

      resave(folder, &Map.put(&1, "encoder.layer.2.output.dense.weight", Mlx.ones({2})))
      assert refusal(folder) =~ "the model has no place for the tensor \"encoder.layer.2.output.dense.weight\""
      assert refusal(folder, &Ranker.load/1) =~ "the file has no tensor \"pooler.dense.bias\", \"pooler.dense.weight\""
    end

    test "has tensors of other shapes and types", %{tmp_dir: folder} do
      save(folder)
      name = "encoder.layer.0.attention.self.value.weight"
      resave(folder, &Map.put(&1, name, Mlx.ones({16, 15})))
      assert refusal(folder) =~ "the tensor #{inspect(name)} has the shape {16, 15}, and config.json says {16, 16}"
      resave(folder, &Map.put(&1, name, Mlx.ones({16, 16}, type: :s32)))
      assert refusal(folder) =~ "the tensor #{inspect(name)} has the type :s32, expected a floating-point type"
    end

    test "may have the heads of other tasks, a prefix, older names, and numbers that are computed", %{tmp_dir: folder} do
      save(folder)
      plain = Embedder.load(folder)

      resave(folder, fn tensors ->
        tensors
        |> Map.new(fn {name, tensor} ->
          name =
            name
            |> String.replace("LayerNorm.weight", "LayerNorm.gamma")
            |> String.replace("LayerNorm.bias", "LayerNorm.beta")

          {"bert." <> name, tensor}
        end)
        |> Map.merge(%{
          "bert.embeddings.position_ids" => Mlx.arange(40),
          "bert.pooler.dense.weight" => Mlx.ones({16, 16}),
          "cls.predictions.bias" => Mlx.ones({60})
        })
      end)

      assert distance(Embedder.embed_ids(plain, @ids), Embedder.embed_ids(Embedder.load(folder), @ids)) == 0.0
    end

    test "may have its tensors in several files, by an index", %{tmp_dir: folder} do
      save(folder)
      plain = Embedder.load(folder)
      File.rm!(folder <> "/model.safetensors")
      {first, second} = TinyEncoder.tensors() |> Enum.split(20)
      parts = [{"a.safetensors", Map.new(first)}, {"b.safetensors", Map.new(second)}]
      for {file, tensors} <- parts, do: Mlx.IO.save(Path.join(folder, file), tensors)
      map = for {file, tensors} <- parts, {name, _tensor} <- tensors, into: %{}, do: {name, file}
      TinyEncoder.write(folder, "model.safetensors.index.json", %{"weight_map" => map})
      assert distance(Embedder.embed_ids(plain, @ids), Embedder.embed_ids(Embedder.load(folder), @ids)) == 0.0

      for {map, said} <- [
            {%{"x" => "../a.safetensors"},
             "names the file \"../a.safetensors\", expected the name of a file in the folder"},
            {%{"x" => 1}, "names the file 1, expected"},
            {%{"x" => "a.safetensors"}, "a.safetensors has no tensor \"x\""},
            {%{"x" => "c.safetensors"}, "cannot read #{folder}/c.safetensors"},
            {%{}, "has no weight_map"}
          ] do
        TinyEncoder.write(folder, "model.safetensors.index.json", %{"weight_map" => map})
        assert refusal(folder) =~ said
      end
    end

    test "with a damaged file of weights is refused", %{tmp_dir: folder} do
      save(folder)
      path = folder <> "/model.safetensors"
      bytes = File.read!(path)

      for size <- [0, 5, 100, byte_size(bytes) - 1] do
        File.write!(path, binary_part(bytes, 0, size))
        assert refusal(folder) =~ path
      end
    end
  end

  # Each value of each family in turn, and those that only some files have.
  test "a configuration with a wrong value gives a model or an error that says so" do
    wrong = [nil, true, false, -1, 0, 1, 1.5, 10 ** 12, "", "full_attention", [], [1], %{}, %{"full_attention" => []}]

    sizes = %{
      "vocab_size" => 60,
      "hidden_size" => 32,
      "intermediate_size" => 48,
      "num_attention_heads" => 4,
      "num_hidden_layers" => 2
    }

    keys = %{
      "bert" =>
        ~w(max_position_embeddings layer_norm_eps hidden_act type_vocab_size position_embedding_type is_decoder),
      "roberta" => ~w(max_position_embeddings pad_token_id layer_norm_eps type_vocab_size),
      "modernbert" =>
        ~w(norm_eps norm_bias attention_bias mlp_bias hidden_activation local_attention global_attn_every_n_layers
           global_rope_theta local_rope_theta layer_types rope_parameters classifier_pooling classifier_activation
           classifier_bias),
      "nomic_bert" =>
        ~w(n_embd n_layer n_head n_inner n_positions activation_function rotary_emb_base rotary_emb_fraction prenorm
           rotary_scaling_factor max_trained_positions qkv_proj_bias mlp_fc1_bias type_vocab_size rope_parameters num_experts
           moe_every_n_layers)
    }

    outcomes =
      for {family, keys} <- keys,
          config = Map.put(sizes, "model_type", family),
          key <- keys ++ Map.keys(sizes) ++ ["model_type", "num_labels", "id2label"],
          value <- wrong,
          classifier? <- [false, true] do
        outcome(Map.put(config, key, value), classifier?)
      end

    assert Enum.count(outcomes, &(&1 == :model)) > 300
    assert Enum.count(outcomes, &(&1 == :error)) > 700
  end

  defp outcome(config, classifier?) do
    %Encoder{} = config |> Encoder.Family.fetch!() |> apply(:config, [config, classifier?]) |> Encoder.build()
    :model
  rescue
    error in Mlx.Error ->
      assert Exception.message(error) =~ ~r/^(config.json: |Mlx.zeros: an array of shape)/
      :error
  end

  test "the names of tensors follow the tables of the families" do
    names = Encoder.Families.NomicBert.names()
    assert TensorNames.of("embeddings.norm.weight", names) == ["emb_ln.weight"]

    assert TensorNames.of("layers.10.feed_forward.input.weight", names) ==
             ["encoder.layers.10.mlp.fc12.weight", "encoder.layers.10.mlp.fc11.weight"]
  end

  test "wrong shapes are refused" do
    encoder = Encoder.new(TinyEncoder.config())

    assert_raise ArgumentError, ~r/Mlx.LM.Encoder.call: expected tokens of the shape/, fn ->
      Encoder.call(encoder, Mlx.array([1]))
    end

    assert_raise ArgumentError, ~r/expected lengths of the shape \{1\}/, fn ->
      Encoder.call(encoder, Mlx.array([[1]]), Mlx.array([1, 1]))
    end

    assert_raise ArgumentError, ~r/types of \{1, 2\}/, fn ->
      Encoder.call(encoder, Mlx.array([[1, 2]]), Mlx.array([2]), Mlx.array([[0]]))
    end
  end

  test "the scores of a very long text are never in memory all at once" do
    assert Attention.scores(512) == 512 * 512
    assert Attention.scores(8192) == 128 * 8192
    assert Attention.scores(1_000_000) == 64 * 1_000_000
  end

  test "an encoder is shown by the types and shapes of its arrays" do
    assert inspect(Encoder.new(TinyEncoder.config())) =~ "#Mlx.LM.Encoder<"
    assert %Config{} = Encoder.Families.Bert.config(TinyEncoder.config(), false)
  end
end
