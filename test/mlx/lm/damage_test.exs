defmodule Mlx.LM.DamageTest do
  # Damaged models: each is an error that tells what is wrong, or a model, in bounded memory and without an end of the virtual
  # machine. `Mlx.IO.GGUFDamageTest` and `Mlx.LM.Tokenizer.DamageTest` damage the parts alone.
  use ExUnit.Case, async: false

  alias Mlx.{TinyEncoder, TinyLlama}
  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.{Decoder, Embedder, Encoder}
  alias Mlx.LM.Encoder.Pooling

  @moduletag :tmp_dir
  @moduletag timeout: 600_000

  @mutations 10_000
  @folder_mutations 1_000

  # Words that a process may hold, and bytes that MLX may: a thousand times what the models take is more than both.
  @heap 64_000_000
  @most_bytes 256 * 1024 * 1024

  @absurd [0, 1, 3, 33, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF]
  @values [nil, true, false, 0, 1, -1, 3, 1.5, 1.0e300, 10 ** 30, 2 ** 31, 2 ** 62, "", "x", "\0", [], [1], %{}, [[]]] ++
            [%{"a" => 1}, ["a", "b"], "full_attention", "linear", [-1, 0], %{"type" => "linear", "factor" => 0}]

  # Runs the rounds in a process with a bounded heap, and counts what became of them.
  defp outcomes(count, round) do
    Mlx.Memory.reset_peak()
    before = Mlx.Memory.active()

    task =
      Task.async(fn ->
        Process.flag(:max_heap_size, @heap)
        for index <- 1..count, do: outcome(fn -> round.(index) end)
      end)

    outcomes = Task.await(task, :infinity)
    assert Mlx.Memory.peak() - before < @most_bytes
    Enum.frequencies(outcomes)
  end

  # What raises is told in one sentence, by the function that was called.
  defp outcome(fun) do
    fun.()
    :loads
  rescue
    error in Mlx.Error ->
      assert error.message =~ ~r/^Mlx\.LM\./
      assert String.valid?(error.message) and byte_size(error.message) < 4_000
      :raises
  end

  defp mutated(bytes, header) do
    at = Enum.random([:rand.uniform(header), :rand.uniform(min(header, 900)), max(header - :rand.uniform(1_200), 0)])
    <<before::binary-size(at), rest::binary>> = bytes

    case {:rand.uniform(6), rest} do
      {1, _rest} -> before
      {2, <<_byte, rest::binary>>} -> before <> rest
      {3, <<_old::64, rest::binary>>} -> <<before::binary, Enum.random(@absurd)::little-64, rest::binary>>
      {4, <<_old::32, rest::binary>>} -> <<before::binary, Enum.random(0..300)::little-32, rest::binary>>
      {5, rest} -> before <> :rand.bytes(:rand.uniform(4)) <> rest
      {_other, <<_byte, rest::binary>>} -> <<before::binary, :rand.uniform(256) - 1, rest::binary>>
    end
  end

  defp reads(lm) do
    {logits, _caches} = Decoder.logits(lm.model, Mlx.array([[1, 2, 0]]), Decoder.caches(lm.model))
    Mlx.eval(logits)
  end

  defp tensors do
    Map.merge(TinyLlama.tensors(), %{"rope_freqs.weight" => Mlx.array([1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.0])})
  end

  test "10,000 mutations of a GGUF file's header", %{tmp_dir: folder} do
    :rand.seed(:exsss, {5, 1, 7})
    path = Path.join(folder, "whole.gguf")
    Mlx.IO.save(path, tensors(), format: :gguf, metadata: TinyLlama.metadata())
    whole = File.read!(path)
    %{data_offset: header} = GGUFMetadata.read(path)
    damaged = Path.join(folder, "damaged.gguf")

    counts =
      outcomes(@mutations, fn _index ->
        File.write!(damaged, mutated(whole, header))
        reads(Mlx.LM.load(damaged))
      end)

    assert counts.raises > div(@mutations, 4)
    assert counts.loads > div(@mutations, 20)
  end

  # A folder with the model in two files, which an index lists.
  defp folder(tmp) do
    path = Path.join(tmp, "whole.gguf")
    Mlx.IO.save(path, tensors(), format: :gguf, metadata: TinyLlama.metadata())
    whole = Path.join(tmp, "whole")
    Mlx.LM.convert(path, whole, type: :f32, shard_size: 160_000)
    assert length(Path.wildcard(Path.join(whole, "*.safetensors"))) > 1
    whole
  end

  defp copy(whole, target) do
    File.rm_rf!(target)
    File.cp_r!(whole, target)
    target
  end

  test "mutations of the headers of safetensors files", %{tmp_dir: tmp} do
    :rand.seed(:exsss, {5, 2, 7})
    whole = folder(tmp)
    target = copy(whole, Path.join(tmp, "damaged"))
    files = for path <- Path.wildcard(Path.join(whole, "*.safetensors")), do: {Path.basename(path), File.read!(path)}

    counts =
      outcomes(@folder_mutations, fn _index ->
        {name, <<size::little-64, _rest::binary>> = bytes} = Enum.random(files)
        File.write!(Path.join(target, name), mutated(bytes, size + 8))

        try do
          reads(Mlx.LM.load(target))
        after
          File.write!(Path.join(target, name), bytes)
        end
      end)

    assert counts.raises > div(@folder_mutations, 2)
  end

  test "files of tensors that are cut short, or taken away", %{tmp_dir: tmp} do
    whole = folder(tmp)
    target = copy(whole, Path.join(tmp, "damaged"))

    for path <- Path.wildcard(Path.join(target, "*.safetensors")) do
      bytes = File.read!(path)

      for size <- [0, 7, 8, 9, 100, div(byte_size(bytes), 2), byte_size(bytes) - 1] do
        File.write!(path, binary_part(bytes, 0, size))
        error = assert_raise Mlx.Error, fn -> Mlx.LM.load(target) end
        assert error.message =~ ~r/^Mlx\.LM\.load: .*#{Path.basename(path)}/
      end

      File.rm!(path)
      error = assert_raise Mlx.Error, fn -> Mlx.LM.load(target) end
      assert error.message =~ ~r/^Mlx\.LM\.load: .*#{Path.basename(path)}/
      File.write!(path, bytes)
    end

    assert reads(Mlx.LM.load(target))
  end

  test "a file that is cut short after its tensors were found", %{tmp_dir: tmp} do
    whole = folder(tmp)
    target = copy(whole, Path.join(tmp, "damaged"))
    tensors = Mlx.LM.Checkpoint.tensors(target)

    for path <- Path.wildcard(Path.join(target, "*.safetensors")),
        do: File.write!(path, binary_part(File.read!(path), 0, 3_000))

    assert_raise Mlx.Error, fn -> tensors |> Map.values() |> Mlx.eval() end
  end

  defp mutated_json(term) when is_map(term) and map_size(term) > 0 do
    name = term |> Map.keys() |> Enum.random()

    case :rand.uniform(8) do
      1 -> Map.delete(term, name)
      2 -> Map.put(term, name, Enum.random(@values))
      3 -> Map.put(term, Enum.random(["rope_scaling", "quantization", "head_dim", "layer_types"]), Enum.random(@values))
      _deeper -> Map.update!(term, name, &mutated_json/1)
    end
  end

  defp mutated_json([_ | _] = list), do: List.update_at(list, :rand.uniform(length(list)) - 1, &mutated_json/1)
  defp mutated_json(_leaf), do: Enum.random(@values)

  # The content of one of the files is damaged as bytes, or as what it stands for.
  defp damaged(bytes) do
    case :rand.uniform(4) do
      1 -> mutated(bytes, byte_size(bytes) - 1)
      _json -> bytes |> JSON.decode!() |> mutated_json() |> JSON.encode!()
    end
  end

  test "mutations of config.json, of the index, and of what tokenizers and generations need", %{tmp_dir: tmp} do
    :rand.seed(:exsss, {5, 3, 7})
    whole = folder(tmp)
    target = copy(whole, Path.join(tmp, "damaged"))

    names =
      ~w(config.json config.json config.json model.safetensors.index.json generation_config.json tokenizer_config.json)

    counts =
      outcomes(@folder_mutations, fn _index ->
        name = Enum.random(names)
        bytes = File.read!(Path.join(whole, name))
        File.write!(Path.join(target, name), damaged(bytes))

        try do
          lm = Mlx.LM.load(target)
          reads(lm)
          if lm.template, do: Mlx.LM.encode(lm, [%{role: "user", content: "Hello"}])
        after
          File.write!(Path.join(target, name), bytes)
        end
      end)

    assert counts.raises > div(@folder_mutations, 5)
    assert counts.loads > div(@folder_mutations, 20)
  end

  test "mutations of an encoder's files", %{tmp_dir: tmp} do
    :rand.seed(:exsss, {5, 4, 7})

    files = %{
      "modules.json" => [
        %{"type" => "a.Transformer", "path" => ""},
        %{"type" => "a.Pooling", "path" => "1_Pooling"},
        %{"type" => "a.Normalize", "path" => "2_Normalize"}
      ],
      "1_Pooling/config.json" => %{"pooling_mode_mean_tokens" => true, "include_prompt" => false},
      "sentence_bert_config.json" => %{"max_seq_length" => 30},
      "config_sentence_transformers.json" => %{"prompts" => %{"query" => "q: "}, "default_prompt_name" => "query"}
    }

    whole = TinyEncoder.save(Path.join(tmp, "whole"), %{}, files)
    target = copy(whole, Path.join(tmp, "damaged"))
    names = ["config.json", "config.json", "model.safetensors" | Map.keys(files)]

    counts =
      outcomes(@folder_mutations, fn _index ->
        name = Enum.random(names)
        bytes = File.read!(Path.join(whole, name))

        changed =
          with "model.safetensors" <- name, <<size::little-64, _rest::binary>> <- bytes do
            mutated(bytes, size + 8)
          else
            _json -> damaged(bytes)
          end

        File.write!(Path.join(target, name), changed)

        try do
          embedder = Embedder.load(target, tokenizer: &TinyEncoder.encode/1)
          # Embeddings of texts would be compiled for each of them.
          x = Encoder.call(embedder.encoder, Mlx.array([[1, 2, 0]]))
          Mlx.eval(Pooling.call(x, Mlx.array([3]), embedder.pooling, 0))
        after
          File.write!(Path.join(target, name), bytes)
        end
      end)

    assert counts.raises > div(@folder_mutations, 4)
    assert counts.loads > div(@folder_mutations, 20)
  end
end
