defmodule Mlx.LM.CheckpointSavingTest do
  use ExUnit.Case, async: false

  alias Mlx.LM.{Checkpoint, Decoder, Families}
  alias Mlx.LM.Families.Fields

  @moduletag :tmp_dir

  @config %{
    "model_type" => "llama",
    "hidden_size" => 64,
    "num_hidden_layers" => 3,
    "intermediate_size" => 128,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 2,
    "rms_norm_eps" => 1.0e-5,
    "vocab_size" => 96,
    "max_position_embeddings" => 128,
    "tie_word_embeddings" => false,
    "_name_or_path" => "somewhere"
  }

  setup %{tmp_dir: tmp} do
    folder = Path.join(tmp, "model")
    File.mkdir!(folder)
    make(folder, @config)
    %{folder: folder, new: Path.join(tmp, "new")}
  end

  defp make(folder, config) do
    {family, fields} = Families.find(Fields.new(config))
    %Decoder{} = decoder = Decoder.new(family.config(fields))

    tensors =
      for {{name, array}, seed} <- decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten() |> Enum.with_index(),
          into: %{},
          do: {name, Mlx.Random.normal(array.shape, scale: 0.2, key: Mlx.Random.key(seed))}

    File.write!(Path.join(folder, "config.json"), JSON.encode!(config))
    Mlx.IO.save(Path.join(folder, "model.safetensors"), tensors)
  end

  defp json(folder, name), do: JSON.decode!(File.read!(Path.join(folder, name)))

  defp logits(folder) do
    model = Checkpoint.load(folder)
    {logits, _caches} = Decoder.call(model, Mlx.array([[5, 9, 1, 77]]), Decoder.caches(model))
    Mlx.to_list(logits)
  end

  test "a model that was changed is saved with the files beside it", %{folder: folder, new: new} do
    for file <-
          ~w(tokenizer.json tokenizer_config.json special_tokens_map.json merges.txt chat_template.jinja program.py),
        do: File.write!(Path.join(folder, file), file)

    File.mkdir!(Path.join(folder, "additional_chat_templates"))
    File.write!(Path.join(folder, "additional_chat_templates/tools.jinja"), "tools")
    tree = Checkpoint.tree(folder)
    changed = put_in(tree.model.norm.weight, Mlx.full({64}, 2.0))
    assert Checkpoint.save(changed, new, config: Checkpoint.config(folder), from: folder) == :ok

    assert Enum.sort(File.ls!(new)) ==
             ~w(additional_chat_templates chat_template.jinja config.json merges.txt model.safetensors
                model.safetensors.index.json special_tokens_map.json tokenizer.json tokenizer_config.json)

    assert File.read!(Path.join(new, "additional_chat_templates/tools.jinja")) == "tools"
    assert json(new, "config.json") == Map.delete(@config, "_name_or_path")
    saved = Checkpoint.tensors(new)
    assert Mlx.to_list(saved["model.norm.weight"]) == List.duplicate(2.0, 64)
    before = Checkpoint.tensors(folder)
    assert Map.keys(saved) == Map.keys(before)

    for {name, array} <- before,
        name != "model.norm.weight",
        do: assert(Mlx.to_binary(saved[name]) == Mlx.to_binary(array))
  end

  test "files have at most so many bytes, or one tensor", %{folder: folder, new: new} do
    this = self()
    report = &send(this, &1)
    tree = Checkpoint.tree(folder)
    Checkpoint.save(tree, new, config: Checkpoint.config(folder), shard_size: 40_000, progress: report)

    %{"weight_map" => map, "metadata" => %{"total_size" => size, "total_parameters" => count}} =
      json(new, "model.safetensors.index.json")

    files = map |> Map.values() |> Enum.uniq() |> Enum.sort()
    total = length(files)
    assert total > 5
    assert hd(files) == "model-00001-of-000#{total}.safetensors"
    assert Enum.sort(File.ls!(new)) == Enum.sort(["config.json", "model.safetensors.index.json" | files])
    assert size == count * 4

    sizes =
      for file <- files do
        tensors = Mlx.IO.load(Path.join(new, file))
        assert Enum.all?(Map.keys(tensors), &(map[&1] == file))
        bytes = Enum.sum_by(tensors, fn {_name, array} -> Mlx.byte_size(array) end)
        assert bytes <= 40_000 or map_size(tensors) == 1
        bytes
      end

    assert Enum.sum(sizes) == size
    assert logits(new) == logits(folder)
    tensors = map_size(map)
    assert_received {:tensors, 0, ^tensors}
    assert_received {:tensors, ^tensors, ^tensors}
  end

  test "a folder is whole or not there", %{folder: folder, new: new, tmp_dir: tmp} do
    tree = Checkpoint.tree(folder)
    config = Checkpoint.config(folder)
    stop = fn {:tensors, done, _total} -> if done == 3, do: raise("enough") end
    assert_raise RuntimeError, "enough", fn -> Checkpoint.save(tree, new, config: config, progress: stop) end
    assert File.ls!(tmp) == ["model"]
    File.mkdir!(new)
    assert Checkpoint.save(tree, new, config: config) == :ok

    assert_raise Mlx.Error, ~r/^Mlx.LM.Checkpoint.save: .*new is there already/, fn ->
      Checkpoint.save(tree, new, config: config)
    end

    assert_raise Mlx.Error, ~r/^Mlx.LM.Checkpoint.save: .*config.json.*cannot be written/, fn ->
      Checkpoint.save(tree, Path.join(folder, "config.json"), config: config)
    end
  end

  test "options are checked", %{folder: folder, new: new} do
    tree = Checkpoint.tree(folder)
    config = Checkpoint.config(folder)
    save = fn options -> Checkpoint.save(tree, new, options) end
    assert_raise ArgumentError, ~r/expected :config to be the fields/, fn -> save.([]) end
    assert_raise ArgumentError, ~r/expected :shard_size to be/, fn -> save.(config: config, shard_size: 0) end
    assert_raise ArgumentError, ~r/expected :progress to be/, fn -> save.(config: config, progress: 1) end
    assert_raise ArgumentError, ~r/unknown option/, fn -> save.(config: config, shards: 1) end
  end

  describe "Mlx.LM.convert" do
    test "asks a function how to quantize each layer", %{folder: folder, new: new} do
      where = fn
        "lm_head", %Mlx.NN.Linear{} -> [bits: 8]
        "model.embed_tokens", %Mlx.NN.Embedding{} -> [mode: :mxfp4]
        "model.layers.1." <> _rest, _layer -> false
        _path, _layer -> true
      end

      figures = Mlx.LM.convert(folder, new, quantize: [bits: 4, group_size: 32, where: where], type: :f16)
      assert figures.parameters == json(new, "model.safetensors.index.json")["metadata"]["total_parameters"]
      four = %{"bits" => 4, "group_size" => 32, "mode" => "affine"}
      config = json(new, "config.json")

      assert config["quantization"] ==
               Map.merge(four, %{
                 "lm_head" => %{four | "bits" => 8},
                 "model.embed_tokens" => %{four | "mode" => "mxfp4"}
               })

      assert config["quantization_config"] == config["quantization"]
      assert config["torch_dtype"] == "float16"
      tensors = Checkpoint.tensors(new)
      assert %{type: :f16} = tensors["model.norm.weight"]
      assert %{type: :u8} = tensors["model.embed_tokens.scales"]
      refute Map.has_key?(tensors, "model.layers.1.mlp.up_proj.scales")
      assert Map.has_key?(tensors, "model.layers.2.mlp.up_proj.scales")
      assert Enum.all?(List.flatten(logits(new)), &is_float/1)
    end

    test "says what is wrong with options", %{folder: folder, new: new} do
      for {options, expected} <- [
            {[type: :s32], ~r/expected :type to be one of \[:f32, :f16, :bf16\], or nil, got: :s32/},
            {[quantize: 4], ~r/expected :quantize to be true, false or a keyword list, got: 4/},
            {[quantize: [mode: :fast]], ~r/expected :mode to be one of/},
            {[quantize: [mode: :nvfp4, bits: 8]], ~r/expected :bits to be 4 in the mode :nvfp4, got: 8/},
            {[quantize: [group_size: 48]],
             ~r/expected :group_size to be one of 32, 64, 128 in the mode :affine, got: 48/},
            {[quantize: [recipe: :mixed]], ~r/expected :recipe to be one of/},
            {[quantize: [recipe: :mixed_2_6, bits: 3]], ~r/leave out :bits, :mode and :where/},
            {[quantize: [where: 1]], ~r/expected :where to be a function/},
            {[quantize: [where: fn _path, _layer -> 4 end]], ~r/expected what :where returns to be true, false/},
            {[dequantize: 1], ~r/expected :dequantize to be true or false, got: 1/},
            {[shard_size: -1], ~r/expected :shard_size/},
            {[progress: :yes], ~r/expected :progress/}
          ] do
        error = assert_raise ArgumentError, expected, fn -> Mlx.LM.convert(folder, new, options) end
        assert error.message =~ ~r/^Mlx\.LM\.convert: /
        refute File.exists?(new)
      end
    end

    test "has a few tensors in memory at a time", %{tmp_dir: tmp, new: new} do
      large = Path.join(tmp, "large")
      File.mkdir!(large)
      make(large, %{@config | "hidden_size" => 512, "intermediate_size" => 2048, "num_hidden_layers" => 6})
      :erlang.garbage_collect()
      Mlx.Memory.clear_cache()
      size = File.stat!(Path.join(large, "model.safetensors")).size
      assert size > 75_000_000
      Mlx.Memory.reset_peak()
      before = Mlx.Memory.active()
      Mlx.LM.convert(large, new, quantize: [bits: 4])
      assert Mlx.Memory.peak() - before < size / 4
    end
  end
end
