defmodule Mlx.LM.CheckpointTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder, Families}
  alias Mlx.LM.Families.Fields
  alias Mlx.NN.{Linear, QuantizedEmbedding}

  @moduletag :tmp_dir

  doctest Mlx.LM.Families
  doctest Mlx.LM.Families.Fields
  doctest Mlx.LM.Families.Tensors

  @config %{
    "model_type" => "llama",
    "hidden_size" => 64,
    "num_hidden_layers" => 2,
    "intermediate_size" => 128,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 2,
    "rms_norm_eps" => 1.0e-5,
    "vocab_size" => 96,
    "max_position_embeddings" => 128,
    "tie_word_embeddings" => false
  }

  @ids [[5, 9, 1, 77, 30]]

  # Numbers of a normal distribution for the tensors that a configuration has.
  defp tensors(config \\ @config) do
    {family, fields} = Families.find(Fields.new(config))
    %Decoder{} = decoder = Decoder.new(family.config(fields))

    for {{name, array}, seed} <- decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten() |> Enum.with_index(),
        into: %{} do
      {name, Mlx.Random.normal(array.shape, scale: 0.2, key: Mlx.Random.key(seed))}
    end
  end

  defp write(folder, name, value), do: File.write!(Path.join(folder, name), JSON.encode!(value))

  defp save(folder, config \\ @config, tensors \\ tensors()) do
    write(folder, "config.json", config)
    Mlx.IO.save(Path.join(folder, "model.safetensors"), tensors)
  end

  defp logits(model) do
    {logits, _caches} = Decoder.call(model, Mlx.array(@ids), Decoder.caches(model))
    logits
  end

  defp close?(a, b, tolerance), do: a |> Mlx.all_close(b, atol: tolerance) |> Mlx.to_number()

  test "a folder with one file, and one with several, give the same", %{tmp_dir: folder} do
    save(folder)
    whole = logits(Checkpoint.load(folder))
    File.rm!(Path.join(folder, "model.safetensors"))
    shards = tensors() |> Enum.chunk_every(7) |> Enum.with_index(&{"model-#{&2}.safetensors", Map.new(&1)})
    for {file, part} <- shards, do: Mlx.IO.save(Path.join(folder, file), part)
    weight_map = for {file, part} <- shards, {name, _array} <- part, into: %{}, do: {name, file}
    write(folder, "model.safetensors.index.json", %{"metadata" => %{}, "weight_map" => weight_map})
    assert close?(logits(Checkpoint.load(folder)), whole, 0.0)
  end

  test "the paths of a tree are the names of the tensors, and it gives what the joined model gives", %{tmp_dir: folder} do
    save(folder)
    tree = Checkpoint.tree(folder)
    paths = for {path, _array} <- tree |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten(), do: path
    assert Enum.sort(paths) == Enum.sort(Map.keys(tensors()))
    expected = Mlx.eval(logits(tree))
    assert close?(logits(Checkpoint.load(folder)), expected, 1.0e-4)
  end

  describe "quantized matrices" do
    for {mode, group_size, bits} <- [
          {:affine, 64, 4},
          {:affine, 32, 2},
          {:affine, 32, 3},
          {:affine, 32, 5},
          {:affine, 32, 6},
          {:affine, 64, 8},
          {:mxfp4, 32, 4},
          {:mxfp8, 32, 8},
          {:nvfp4, 16, 4}
        ] do
      test "#{mode}, #{bits} bits, groups of #{group_size}", %{tmp_dir: folder} do
        settings = [group_size: unquote(group_size), bits: unquote(bits), mode: unquote(mode)]
        {config, tensors} = quantized(settings, fn _name -> settings end)
        save(folder, config, tensors)
        model = Checkpoint.load(folder, form: :quantized)
        assert %{scales: _, bits: unquote(bits), mode: unquote(mode)} = hd(model.model.layers).self_attn.qkv_proj
        assert %QuantizedEmbedding{group_size: unquote(group_size)} = model.model.embed_tokens
        assert close?(logits(model), logits(Checkpoint.load(folder, form: :dense)), 1.0e-3)
      end
    end

    test "of several kinds, and some that are not, in one model", %{tmp_dir: folder} do
      four = [group_size: 64, bits: 4, mode: :affine]
      eight = [group_size: 32, bits: 8, mode: :affine]

      {config, tensors} =
        quantized(four, fn
          "model.layers.0.self_attn.k_proj" -> eight
          "model.layers.1.mlp.down_proj" -> nil
          _name -> four
        end)

      own = %{
        "model.layers.0.self_attn.k_proj" => %{"group_size" => 32, "bits" => 8},
        "model.layers.1.mlp.down_proj" => false
      }

      config = Map.update!(config, "quantization", &Map.merge(&1, own))
      save(folder, config, tensors)
      model = Checkpoint.load(folder, form: :quantized)
      [first, second] = model.model.layers
      assert %{qkv_proj: nil, k_proj: %{scales: _, bits: 8}, q_proj: %{scales: _, bits: 4}} = first.self_attn
      assert %{qkv_proj: %{scales: _}} = second.self_attn
      refute is_map_key(second.mlp.down_proj, :scales)
      assert close?(logits(model), logits(Checkpoint.load(folder, form: :dense)), 1.0e-3)
    end

    defp quantized(settings, choose) do
      tensors =
        for {name, array} <- tensors(), part <- parts(name, array, choose), into: %{}, do: part

      {Map.put(@config, "quantization", Map.new(settings, fn {key, value} -> {to_string(key), value} end)), tensors}
    end

    defp parts(name, array, choose) do
      layer = String.replace_suffix(name, ".weight", "")

      case tuple_size(array.shape) == 2 and choose.(layer) do
        settings when is_list(settings) ->
          Enum.zip(
            ["#{layer}.weight", "#{layer}.scales", "#{layer}.biases"],
            Tuple.to_list(Mlx.quantize(array, settings))
          )

        _whole ->
          [{name, array}]
      end
    end
  end

  test "what a file has for pictures is left out, and names of the part for text are its own", %{tmp_dir: folder} do
    save(folder)
    expected = logits(Checkpoint.load(folder))
    text = Map.new(tensors(), fn {name, array} -> {"language_model." <> name, array} end)
    pictures = %{"vision_tower.layer.weight" => Mlx.zeros({3}), "multi_modal_projector.linear.bias" => Mlx.zeros({3})}
    config = %{"model_type" => "llava", "text_config" => @config, "vision_config" => %{}}
    save(folder, config, Map.merge(text, pictures))
    assert close?(logits(Checkpoint.load(folder)), expected, 0.0)
  end

  test "the output is the embedding where the file has no other", %{tmp_dir: folder} do
    config = Map.delete(@config, "tie_word_embeddings")
    save(folder, config, Map.delete(tensors(), "lm_head.weight"))
    tied = logits(Checkpoint.load(folder))
    save(folder, config, Map.put(tensors(), "lm_head.weight", tensors()["model.embed_tokens.weight"]))
    assert close?(tied, logits(Checkpoint.load(folder)), 1.0e-4)
  end

  test "the type is that which is asked for", %{tmp_dir: folder} do
    save(folder)
    assert logits(Checkpoint.load(folder, type: :bf16)).type == :bf16
    assert Checkpoint.tree(folder, type: :f16).model.norm.weight.type == :f16
  end

  test "a type that is no floating-point type is refused", %{tmp_dir: folder} do
    save(folder)

    for type <- [:s32, :u8, :bool, :c64] do
      error = assert_raise ArgumentError, fn -> Checkpoint.load(folder, type: type) end
      assert error.message =~ "Mlx.LM.Checkpoint.load: expected :type to be a floating-point type"
      assert String.ends_with?(error.message, "got: #{inspect(type)}")
    end
  end

  test "a family of one's own counts first", %{tmp_dir: folder} do
    defmodule Renamed do
      use Mlx.LM.Family

      @impl true
      def config(fields), do: Mlx.LM.Families.Plain.config(fields)

      @impl true
      def names, do: [{"blocks", "model.layers"}, {"attention.query", "self_attn.q_proj"}]
    end

    save(folder)
    expected = logits(Checkpoint.load(folder))

    renamed =
      Map.new(tensors(), fn {name, array} ->
        {name |> String.replace("model.layers", "blocks") |> String.replace("self_attn.q_proj", "attention.query"),
         array}
      end)

    save(folder, %{@config | "model_type" => "mine"}, renamed)

    assert_raise Mlx.Error, ~r/model_type is "mine", expected one of .*apertus, .*cohere/, fn ->
      Checkpoint.load(folder)
    end

    assert close?(logits(Checkpoint.load(folder, families: %{"mine" => Renamed})), expected, 0.0)
  end

  test "the tokens that end a text are those of both files", %{tmp_dir: folder} do
    write(folder, "config.json", Map.put(@config, "eos_token_id", 2))
    assert Checkpoint.end_ids(folder) == [2]
    write(folder, "generation_config.json", %{"eos_token_id" => [2, 7]})
    assert Checkpoint.end_ids(folder) == [2, 7]
    write(folder, "generation_config.json", %{"eos_token_id" => "two"})
    assert_raise Mlx.Error, ~r/eos_token_id is "two"/, fn -> Checkpoint.end_ids(folder) end
  end

  describe "an error names" do
    for {key, value, expected} <- [
          {"hidden_size", "wide", "an integer of at least 1"},
          {"hidden_size", nil, "an integer of at least 1"},
          {"num_hidden_layers", 1_000_000_000, "an integer from 1 to 4096"},
          {"num_attention_heads", 0, "an integer of at least 1"},
          {"rms_norm_eps", -1, "a positive number"},
          {"tie_word_embeddings", "no", "true or false"},
          {"layer_types", ["full_attention"], "a list of 2 strings"},
          {"rope_scaling", [1], "an object"},
          {"rope_scaling", %{"type" => "spiral"}, ~s(one of "default", "linear")},
          {"rope_scaling", %{"type" => "linear"}, "a positive number"},
          {"model_type", 7, "a string"},
          {"quantization", %{"bits" => 7}, "one of 2, 3"},
          {"vocab_size", 1.5, "an integer of at least 1"}
        ] do
      test "#{key}, its value #{inspect(value)} and what was expected", %{tmp_dir: folder} do
        tensors = Map.put(tensors(), "model.norm.scales", Mlx.zeros({1}))

        tensors =
          if unquote(key) == "quantization", do: Map.put(tensors, "lm_head.scales", Mlx.zeros({96, 1})), else: tensors

        save(folder, Map.put(@config, unquote(key), unquote(Macro.escape(value))), tensors)

        error = assert_raise Mlx.Error, fn -> Checkpoint.load(folder) end

        assert error.message =~
                 ~r/^Mlx\.LM\.Checkpoint\.load: .*config\.json: [\w.]*(#{unquote(key)}|factor|type|bits)\b/

        assert error.message =~ unquote(expected)
      end
    end

    test "tensors that are missing, of another shape, and without a place", %{tmp_dir: folder} do
      wrong =
        tensors()
        |> Map.delete("model.layers.1.mlp.up_proj.weight")
        |> Map.put("model.norm.weight", Mlx.zeros({3}))
        |> Map.put("model.layers.9.mlp.up_proj.weight", Mlx.zeros({2}))

      save(folder, @config, wrong)
      %{message: message} = assert_raise Mlx.Error, fn -> Checkpoint.load(folder) end
      assert message =~ "model.layers.1.mlp.up_proj.weight {128, 64} is missing"
      assert message =~ "model.norm.weight has the shape {3}, expected {64}"
      assert message =~ "model.layers.9.mlp.up_proj.weight {2} has no place in the model"
    end

    test "files that are missing, broken, cut short, or outside", %{tmp_dir: folder} do
      assert_raise Mlx.Error, ~r/config\.json: no such file/, fn -> Checkpoint.load(folder) end
      File.write!(Path.join(folder, "config.json"), "{")
      assert_raise Mlx.Error, ~r/config\.json is no JSON/, fn -> Checkpoint.load(folder) end
      File.write!(Path.join(folder, "config.json"), "[]")
      assert_raise Mlx.Error, ~r/config\.json: expected a JSON object/, fn -> Checkpoint.load(folder) end
      write(folder, "config.json", @config)
      assert_raise Mlx.Error, ~r/has no model\.safetensors/, fn -> Checkpoint.load(folder) end

      for file <- ["../other.safetensors", "/etc/passwd", 7] do
        write(folder, "model.safetensors.index.json", %{"weight_map" => %{"model.norm.weight" => file}})
        assert_raise Mlx.Error, ~r/expected names of files in weight_map/, fn -> Checkpoint.load(folder) end
      end

      write(folder, "model.safetensors.index.json", %{"weight_map" => %{"model.norm.weight" => "part.safetensors"}})
      assert_raise Mlx.Error, ~r/part\.safetensors/, fn -> Checkpoint.load(folder) end
      save(folder)
      bytes = File.read!(Path.join(folder, "model.safetensors"))
      File.write!(Path.join(folder, "part.safetensors"), binary_part(bytes, 0, 4000))
      assert_raise Mlx.Error, ~r/part\.safetensors/, fn -> Checkpoint.load(folder) end
    end
  end

  test "shapes that are larger than memory are refused", %{tmp_dir: folder} do
    save(folder, %{@config | "vocab_size" => 2_000_000_000, "hidden_size" => 2_000_000_000})
    assert_raise Mlx.Error, fn -> Checkpoint.load(folder) end
  end

  test "linear layers stay what they are in a tree", %{tmp_dir: folder} do
    save(folder)
    assert %Linear{} = hd(Checkpoint.tree(folder).model.layers).self_attn.q_proj
  end
end
