defmodule Mlx.LM.EmbedderTest do
  use ExUnit.Case, async: true

  alias Mlx.TinyEncoder
  alias Mlx.LM.Embedder
  alias Mlx.LM.Encoder.{Batches, Pooling}

  @moduletag :tmp_dir
  @tolerance 1.0e-5

  @texts [
    "a cat",
    "",
    "the dog sleeps",
    "x",
    "a sentence that is longer than all the others here",
    "zebra crossing",
    "a cat"
  ]
  @modules [
    %{"type" => "sentence_transformers.models.Transformer", "path" => ""},
    %{"type" => "sentence_transformers.models.Pooling", "path" => "1_Pooling"},
    %{"type" => "sentence_transformers.models.Normalize", "path" => "2_Normalize"}
  ]

  defp distance(a, b), do: a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  defp load(folder, files \\ %{}, options \\ []) do
    Embedder.load(TinyEncoder.save(folder, %{}, files), [tokenizer: &TinyEncoder.encode/1] ++ options)
  end

  defp with_modules(files),
    do: Map.merge(%{"modules.json" => @modules, "1_Pooling/config.json" => pooling("mean_tokens")}, files)

  defp pooling(mode),
    do: %{
      "word_embedding_dimension" => 16,
      "pooling_mode_#{mode}" => true,
      "pooling_mode_max_tokens" => mode == "max_tokens"
    }

  defp rows(matrix), do: Mlx.to_list(matrix)

  describe "embed" do
    test "gives a vector for each text, in their order and independent of the others", %{tmp_dir: folder} do
      embedder = load(folder)
      all = Embedder.embed(embedder, @texts)
      assert {all.shape, all.type, Embedder.dims(embedder)} == {{7, 16}, :f32, 16}
      assert distance(all[0], all[6]) < @tolerance
      assert distance(all[0], all[2]) > 0.01

      for {text, row} <- Enum.with_index(@texts) do
        assert distance(Embedder.embed(embedder, text), Mlx.new_axis(all[row], 0)) < @tolerance
      end

      reversed = Embedder.embed(embedder, Enum.reverse(@texts))
      assert distance(reversed, all[[-1..0//-1]]) < @tolerance

      for size <- [1, 2, 3, 5, 100] do
        assert distance(Embedder.embed(embedder, @texts, batch_size: size), all) < @tolerance
      end
    end

    test "gives the same for random texts one by one and together", %{tmp_dir: folder} do
      embedder = load(folder)
      :rand.seed(:exsss, 5)
      texts = for _ <- 1..60, do: for(_ <- 1..:rand.uniform(45), into: "", do: <<Enum.random(?a..?z)>>)
      all = Embedder.embed(embedder, texts, batch_size: 7)
      one_by_one = for text <- texts, do: Embedder.embed(embedder, text)
      assert distance(all, Mlx.concatenate(one_by_one)) < @tolerance
    end

    test "gives an array without rows for no texts", %{tmp_dir: folder} do
      embedder = load(folder)
      assert Embedder.embed(embedder, []).shape == {0, 16}
      assert Embedder.embed_ids(embedder, [], pooling: [:cls, :max]).shape == {0, 32}
    end

    test "leaves out what is too long, and keeps the special token at the end", %{tmp_dir: folder} do
      embedder = load(folder)
      assert embedder.max_length == 40
      text = String.duplicate("abcdefgh", 100_000)
      cut = Embedder.embed(embedder, String.slice(text, 0, 38))
      assert distance(Embedder.embed(embedder, text), cut) < @tolerance
      ids = TinyEncoder.encode("abcd")
      assert distance(Embedder.embed(embedder, text, max_length: 6), Embedder.embed_ids(embedder, [ids])) < @tolerance
    end

    test "puts a prompt in front", %{tmp_dir: folder} do
      settings = %{"prompts" => %{"query" => "find: ", "document" => ""}, "default_prompt_name" => "query"}
      embedder = load(folder, %{"config_sentence_transformers.json" => settings})
      prompted = Embedder.embed(embedder, "find: cat", prompt: nil)
      assert distance(Embedder.embed(embedder, "cat"), prompted) == 0.0
      assert distance(Embedder.embed(embedder, "cat", prompt: :query), prompted) == 0.0
      assert distance(Embedder.embed(embedder, "cat", prompt: "find: "), prompted) == 0.0
      assert distance(Embedder.embed(embedder, "cat", prompt: :document), prompted) > 0.01
    end

    test "leaves the prompt out of the mean where the files say so", %{tmp_dir: folder} do
      files = with_modules(%{"1_Pooling/config.json" => Map.put(pooling("mean_tokens"), "include_prompt", false)})
      embedder = load(folder, files)
      ids = TinyEncoder.encode("to: cat")
      x = Mlx.LM.Encoder.call(embedder.encoder, Mlx.array([ids]))
      mean = x[[0, 5..8]] |> Mlx.mean(axes: [0], keep_axes: true)
      expected = Mlx.divide(mean, Mlx.Linalg.norm(mean))
      assert distance(Embedder.embed(embedder, "cat", prompt: "to: "), expected) < @tolerance
    end

    test "takes the type of the model", %{tmp_dir: folder} do
      exact = Embedder.embed(load(folder), @texts)

      for {type, tolerance} <- [f16: 0.02, bf16: 0.2] do
        embedder = load(folder, %{}, type: type)
        assert embedder.encoder.embeddings.word.weight.type == type
        vectors = Embedder.embed(embedder, @texts)
        assert vectors.type == :f32
        assert distance(vectors, exact) < tolerance
        assert distance(vectors, exact) > 0
      end
    end

    test "can be called by several processes", %{tmp_dir: folder} do
      embedder = load(folder)
      expected = Embedder.embed(embedder, @texts)

      results =
        1..4 |> Enum.map(fn _ -> Task.async(fn -> Embedder.embed(embedder, @texts) end) end) |> Task.await_many(60_000)

      for vectors <- results, do: assert(distance(vectors, expected) == 0.0)
    end

    for {options, said} <- [
          {[pooling: :median], "expected :pooling to be one of :cls, :last, .*, got: :median"},
          {[pooling: []], "expected :pooling to be one of"},
          {[normalize: 1], "expected :normalize to be true or false, got: 1"},
          {[max_length: 0], "expected :max_length to be an integer from 1 to 40, got: 0"},
          {[max_length: 41], "expected :max_length to be an integer from 1 to 40, got: 41"},
          {[max_length: 2], "expected :max_length to be more than 2, the number of special tokens, got: 2"},
          {[batch_size: 0], "expected :batch_size to be a positive integer, got: 0"},
          {[prompt: :query], "expected :prompt to be a string, nil, or an atom .*it has none\\), got: :query"},
          {[prompt: 5], "expected :prompt to be a string.* got: 5"},
          {[size: 5], "unknown option :size, expected one of :prompt, :pooling"}
        ] do
      test "refuses #{inspect(options)}", %{tmp_dir: folder} do
        embedder = load(folder)

        assert_raise ArgumentError, ~r/^Mlx.LM.Embedder.embed: #{unquote(said)}/, fn ->
          Embedder.embed(embedder, "a", unquote(options))
        end
      end
    end

    test "refuses what is no text, and texts without a tokenizer", %{tmp_dir: folder} do
      embedder = load(folder)
      assert_raise ArgumentError, ~r/expected texts to be strings, got: 5/, fn -> Embedder.embed(embedder, ["a", 5]) end
      without = Embedder.load(folder)
      assert_raise ArgumentError, ~r/there is no tokenizer.json in the folder/, fn -> Embedder.embed(without, "a") end

      assert_raise ArgumentError, ~r/expected :tokenizer to be a Mlx.LM.Tokenizer or a function/, fn ->
        Embedder.load(folder, tokenizer: 5)
      end

      assert_raise ArgumentError, ~r/Mlx.LM.Embedder.load: expected :type to be :f32, :f16 or :bf16, got: :s32/, fn ->
        Embedder.load(folder, type: :s32)
      end
    end
  end

  describe "embed_ids" do
    for {ids, said} <- [
          {[[1, 60]], "expected tokens from 0 to 59, got: 60 at 0"},
          {[[1], [-1]], "expected tokens from 0 to 59, got: -1 at 1"},
          {[[1], ["a"]], "got: \"a\" at 1"},
          {[[]], "there are no tokens at 0, expected at least one"},
          {[5], "expected lists of tokens, got: 5 at 0"},
          {[[1 | 2]], "expected lists of tokens, got: "},
          {[List.duplicate(1, 41)], "there are 41 tokens at 0, expected at most 40"}
        ] do
      test "refuses #{inspect(ids, limit: 3)}", %{tmp_dir: folder} do
        embedder = load(folder)
        error = assert_raise ArgumentError, fn -> Embedder.embed_ids(embedder, unquote(Macro.escape(ids))) end
        assert error.message =~ "Mlx.LM.Embedder.embed_ids: "
        assert error.message =~ unquote(said)
      end
    end
  end

  describe "pooling" do
    # Two texts of three and of two vectors, with something else behind.
    @x [[[1.0, -2.0], [3.0, 4.0], [5.0, 1.0]], [[2.0, 2.0], [4.0, -6.0], [:infinity, :nan]]]

    for {mode, expected} <- [
          cls: [[1.0, -2.0], [2.0, 2.0]],
          last: [[5.0, 1.0], [4.0, -6.0]],
          mean: [[3.0, 1.0], [3.0, -2.0]],
          max: [[5.0, 4.0], [4.0, 2.0]],
          mean_sqrt_len: [[9 / :math.sqrt(3), 3 / :math.sqrt(3)], [6 / :math.sqrt(2), -4 / :math.sqrt(2)]],
          weighted_mean: [[22 / 6, 9 / 6], [10 / 3, -10 / 3]]
        ] do
      test "by #{mode} looks at no padding" do
        x = Mlx.array(@x, type: :f32)
        pooled = Pooling.call(x, Mlx.array([3, 2]), [unquote(mode)])
        assert distance(pooled, Mlx.array(unquote(expected), type: :f32)) < 1.0e-6
      end
    end

    test "of several kinds gives their numbers one after the other", %{tmp_dir: folder} do
      embedder = load(folder)
      parts = for mode <- [:cls, :max], do: Embedder.embed(embedder, @texts, pooling: mode)
      both = Embedder.embed(embedder, @texts, pooling: [:cls, :max])
      assert distance(both, Mlx.concatenate(parts, axis: 1)) < @tolerance
      assert length(Pooling.modes()) == 6
    end

    test "is that of the files, as is the length of the vectors", %{tmp_dir: folder} do
      plain = load(folder)
      assert {plain.pooling, plain.normalize} == {[:mean], false}

      for {config, mode} <- [
            {pooling("cls_token"), :cls},
            {pooling("max_tokens"), :max},
            {pooling("lasttoken"), :last},
            {pooling("mean_sqrt_len_tokens"), :mean_sqrt_len},
            {pooling("weightedmean_tokens"), :weighted_mean},
            {%{"embedding_dimension" => 16, "pooling_mode" => "lasttoken"}, :last}
          ] do
        embedder = load(folder, with_modules(%{"1_Pooling/config.json" => config}))
        assert {embedder.pooling, embedder.normalize} == {[mode], true}
        vectors = Embedder.embed(embedder, @texts)
        for row <- rows(vectors), do: assert_in_delta(Enum.sum(for(x <- row, do: x * x)), 1.0, 1.0e-5)
        raw = Embedder.embed(plain, @texts, pooling: mode)
        assert distance(raw, Embedder.embed(embedder, @texts, normalize: false)) < @tolerance
        assert distance(vectors, Embedder.embed(plain, @texts, pooling: mode, normalize: true)) < @tolerance
      end
    end
  end

  describe "the files beside a model" do
    test "can set the length of texts", %{tmp_dir: folder} do
      assert load(folder, %{"sentence_bert_config.json" => %{"max_seq_length" => 20}}).max_length == 20
      assert load(folder, %{"sentence_bert_config.json" => %{"max_seq_length" => 1000}}).max_length == 40
      File.rm!(folder <> "/sentence_bert_config.json")
      assert load(folder, %{"tokenizer_config.json" => %{"model_max_length" => 30}}).max_length == 30
      assert load(folder, %{"tokenizer_config.json" => %{"model_max_length" => 1.0e30}}).max_length == 40
    end

    test "can have a dense layer, and the model in a folder of its own", %{tmp_dir: folder} do
      TinyEncoder.save(folder <> "/0_Transformer")

      kinds = [
        {"Transformer", "0_Transformer"},
        {"Pooling", "1_Pooling"},
        {"Dense", "2_Dense"},
        {"Normalize", "3_Normalize"}
      ]

      TinyEncoder.write(
        folder,
        "modules.json",
        for({kind, path} <- kinds, do: %{"type" => "st." <> kind, "path" => path})
      )

      TinyEncoder.write(folder, "1_Pooling/config.json", pooling("cls_token"))

      dense = %{
        "in_features" => 16,
        "out_features" => 4,
        "bias" => true,
        "activation_function" => "torch.nn.modules.activation.Tanh"
      }

      TinyEncoder.write(folder, "2_Dense/config.json", dense)
      weight = Mlx.Random.normal({4, 16}, key: Mlx.Random.key(1))
      bias = Mlx.Random.normal({4}, key: Mlx.Random.key(2))
      Mlx.IO.save(folder <> "/2_Dense/model.safetensors", %{"linear.weight" => weight, "linear.bias" => bias})

      embedder = Embedder.load(folder, tokenizer: &TinyEncoder.encode/1)
      assert Embedder.dims(embedder) == 4
      plain = Embedder.load(folder <> "/0_Transformer", tokenizer: &TinyEncoder.encode/1)

      x =
        plain
        |> Embedder.embed(@texts, pooling: :cls)
        |> Mlx.matmul(Mlx.transpose(weight))
        |> Mlx.add(bias)
        |> Mlx.tanh()

      assert distance(Embedder.embed(embedder, @texts, normalize: false), x) < @tolerance

      assert_raise ArgumentError, ~r/expected a :pooling that gives 16 numbers.* got: \[:cls, :mean\] with 32/, fn ->
        Embedder.embed(embedder, "a", pooling: [:cls, :mean])
      end

      TinyEncoder.write(folder, "2_Dense/config.json", %{dense | "in_features" => 15})

      assert_raise Mlx.Error, ~r/"linear.weight" has the shape \{4, 16\}, and config.json says \{4, 15\}/, fn ->
        Embedder.load(folder)
      end

      TinyEncoder.write(folder, "2_Dense/config.json", %{dense | "activation_function" => "os.system"})
      assert_raise Mlx.Error, ~r/activation_function is "os.system", expected one of/, fn -> Embedder.load(folder) end
    end

    for {files, said} <- [
          {%{"modules.json" => %{}}, "modules.json: expected a list of objects with type and path, got: %{}"},
          {%{"modules.json" => [%{"type" => 1}]}, "expected a list of objects with type and path"},
          {%{"modules.json" => [%{"type" => "a.Transformer", "path" => "../x"}]},
           "has the path \"../x\", expected one inside"},
          {%{"modules.json" => [%{"type" => "a.Transformer", "path" => "/etc"}]},
           "has the path \"/etc\", expected one inside"},
          {%{"modules.json" => [%{"type" => "a.CLIP", "path" => ""}]},
           "modules.json begins with CLIP, expected a Transformer"},
          {%{"modules.json" => [%{"type" => "a.Transformer", "path" => ""}, %{"type" => "a.LSTM", "path" => ""}]},
           "has the module LSTM, expected Transformer, Pooling, Dense and Normalize"},
          {%{"modules.json" => @modules, "1_Pooling/config.json" => %{}}, "has no pooling that is known"},
          {%{"modules.json" => @modules, "1_Pooling/config.json" => %{"pooling_mode" => "median"}},
           "has no pooling that is known"},
          {%{"sentence_bert_config.json" => %{"max_seq_length" => "x"}},
           "max_seq_length is \"x\", expected a positive integer"},
          {%{"config_sentence_transformers.json" => %{"prompts" => [1]}},
           "expected prompts to be an object of strings, got: [1]"},
          {%{"config_sentence_transformers.json" => %{"default_prompt_name" => "q"}},
           "default_prompt_name is \"q\", and there is no such prompt"},
          {%{"config_sentence_transformers.json" => %{"similarity_fn_name" => "q"}},
           "similarity_fn_name is \"q\", expected one of cosine"}
        ] do
      test "are refused as #{inspect(files, limit: 4)}", %{tmp_dir: folder} do
        error = assert_raise Mlx.Error, fn -> load(folder, unquote(Macro.escape(files))) end
        assert Exception.message(error) =~ "Mlx.LM.Embedder.load: "
        assert Exception.message(error) =~ unquote(said)
      end
    end
  end

  describe "similarity" do
    test "is what the files name", %{tmp_dir: folder} do
      a = Mlx.array([[3.0, 4.0], [1.0, 0.0]])
      b = Mlx.array([0.0, 2.0])

      for {name, expected} <- [
            {"cosine", [[0.8], [0.0]]},
            {"dot", [[8.0], [0.0]]},
            {"euclidean", [[-:math.sqrt(13)], [-:math.sqrt(5)]]},
            {"manhattan", [[-5.0], [-3.0]]}
          ] do
        embedder = load(folder, %{"config_sentence_transformers.json" => %{"similarity_fn_name" => name}})
        assert distance(Embedder.similarity(embedder, a, b), Mlx.array(expected, type: :f32)) < 1.0e-6
      end

      embedder = load(folder)

      assert_raise ArgumentError, ~r/expected vectors of the shape/, fn ->
        Embedder.similarity(embedder, Mlx.array(1.0), b)
      end
    end
  end

  describe "a batch" do
    # The function is compiled for each of the shapes.
    test "of any texts has few shapes, and rows come back in their order" do
      test = self()
      :rand.seed(:exsss, 7)
      lengths = for _ <- 1..500, do: :rand.uniform(100)
      sequences = for length <- lengths, do: {List.duplicate(length, length), nil}

      sums = fn ids, lengths, nil ->
        send(test, {:shape, ids.shape})
        ids |> Mlx.sum(axes: [1], keep_axes: true) |> Mlx.divide(Mlx.new_axis(lengths, 1))
      end

      rows = Batches.run(sequences, %{heads: 2, batch_size: 16, length: 100}, sums)
      assert Mlx.to_list(rows) == for(length <- lengths, do: [length * 1.0])

      shapes = shapes()
      assert length(shapes) == 32
      assert Enum.uniq(for {rows, _length} <- shapes, do: rows) -- [16, 4] == []
      for {_rows, length} <- shapes, do: assert(length in [8, 12, 16, 24, 32, 48, 64, 96, 100])
    end

    defp shapes do
      receive do
        {:shape, shape} -> [shape | shapes()]
      after
        0 -> []
      end
    end

    test "has one of a few lengths and numbers of rows" do
      assert Enum.uniq(for length <- 1..512, do: Batches.padded(length, 512)) == [
               8,
               12,
               16,
               24,
               32,
               48,
               64,
               96,
               128,
               192,
               256,
               384,
               512
             ]

      assert Batches.padded(200, 230) == 230
      for length <- 1..2000, do: assert(Batches.padded(length, 2000) in length..max(8, div(3 * length, 2)))
      limits = %{heads: 12, batch_size: 10, length: 8192}
      assert for(left <- [1, 2, 3, 5, 9, 10, 50], do: Batches.rows(left, 64, limits)) == [1, 2, 2, 4, 8, 10, 10]
      # Of long texts there are fewer.
      assert for(length <- [1024, 2048, 4096, 8192], do: Batches.rows(50, length, limits)) == [10, 8, 4, 2]
    end
  end
end
