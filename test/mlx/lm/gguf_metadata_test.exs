defmodule Mlx.LM.GGUFMetadataTest do
  # Metadata and tensors that do not fit each other: each is told, in bounded time, with its key.
  use ExUnit.Case, async: true

  alias Mlx.LM.{Decoder, Families, GGUFArchitecture, GGUFModel, Names}
  alias Mlx.LM.Families.Fields
  alias Mlx.TinyLlama

  @moduletag :tmp_dir

  @sizes %{
    "embedding_length" => 64,
    "block_count" => 2,
    "context_length" => 128,
    "feed_forward_length" => 96,
    "attention.head_count" => 4,
    "attention.head_count_kv" => 2,
    "attention.key_length" => 16,
    "attention.value_length" => 16,
    "attention.layer_norm_rms_epsilon" => 1.0e-5,
    "attention.sliding_window" => 8,
    "attention.sliding_window_pattern" => 2,
    "attn_logit_softcapping" => 50.0,
    "final_logit_softcapping" => 30.0,
    "expert_count" => 4,
    "expert_used_count" => 2,
    "expert_feed_forward_length" => 32,
    "expert_shared_feed_forward_length" => 32,
    "rope.dimension_count" => 16,
    "rope.freq_base" => 10_000.0,
    "rope.scaling.type" => "yarn",
    "rope.scaling.factor" => 4.0,
    "rope.scaling.original_context_length" => 32,
    "vocab_size" => 50
  }

  # Keys without which no file of the architecture can be read.
  @needed ~w(embedding_length block_count context_length attention.head_count attention.layer_norm_rms_epsilon)

  @wrong ["wide", "", -1, 0, 3, 2_147_483_647, 0x7FFFFFFFFFFFFFFF, 1.5, 1.0e300, :nan, true, [1, "two"], []]

  defp metadata(architecture) do
    for {key, value} <- @sizes, into: %{"general.architecture" => architecture}, do: {"#{architecture}.#{key}", value}
  end

  # Tensors that fit the metadata, with the names of the file.
  defp tensors(architecture) do
    row = GGUFArchitecture.find(architecture, true)

    fields =
      Map.merge(row.fields, for({key, field, _kind} <- row.keys, value = @sizes[key], into: %{}, do: {field, value}))

    fields = Map.merge(fields, %{"model_type" => row.type, "vocab_size" => 50, "head_dim" => 16})
    {family, fields} = Families.find(Fields.new(fields))
    %Decoder{} = decoder = Decoder.new(family.config(fields))
    theirs = for {theirs, ours} <- row.names, do: {ours, theirs}

    for {name, array} <- decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten(), into: %{} do
      {Names.ours(name, theirs), Mlx.zeros(array.shape)}
    end
  end

  # `new` gives up the arrays that it is given.
  defp result(tensors, metadata) do
    tensors = Map.new(tensors, fn {name, array} -> {name, Mlx.copy(array)} end)
    GGUFModel.new(tensors, metadata, "damaged.gguf", type: :f32)
  rescue
    error in Mlx.Error -> error.message
  end

  for architecture <- GGUFModel.architectures() do
    test "of #{architecture}: what is wrong is told" do
      architecture = unquote(architecture)
      {tensors, metadata} = {tensors(architecture), metadata(architecture)}
      assert %Decoder{} = result(tensors, metadata)

      for {key, _value} <- @sizes, wrong <- @wrong do
        case result(tensors, %{metadata | "#{architecture}.#{key}" => wrong}) do
          %Decoder{} -> :ok
          message -> assert String.starts_with?(message, "damaged.gguf")
        end
      end

      for key <- @needed do
        key = "#{architecture}.#{key}"
        assert result(tensors, Map.delete(metadata, key)) =~ "damaged.gguf: #{key} is missing"
        assert result(tensors, %{metadata | key => "wide"}) =~ ~s(damaged.gguf: #{key} is "wide", expected)
      end

      for name <- Map.keys(tensors), not String.contains?(name, "blk.1.") do
        without = result(Map.delete(tensors, name), metadata)
        # Without an output matrix, the embedding is that.
        assert match?(%Decoder{}, without) == (name == "output.weight" and architecture not in ["gpt-oss", "glm4"])

        for shape <- [{1}, {2, 3}, {7, 64, 3}] do
          assert result(Map.put(tensors, name, Mlx.zeros(shape)), metadata) =~ ~r/damaged\.gguf.*(has the shape|is)/
        end
      end

      assert result(Map.put(tensors, "blk.0.attn_extra.weight", Mlx.zeros({2})), metadata) =~
               "has no place in the model"
    end
  end

  test "lengths of keys and values that differ, and rotated parts that are larger than a head" do
    tensors = tensors("qwen3")

    for {key, value, message} <- [
          {"attention.value_length", 32, "attention.value_length is 32, expected 16, the length of a key"},
          {"rope.dimension_count", 8, "rope.dimension_count is 8, expected 16: all features of a head are rotated"},
          {"rope.scaling.type", "squeezed", ~s(rope.scaling.type is "squeezed", expected one of "none")},
          {"rope.scaling.type", "longrope", "rope_factors_long.weight is missing"}
        ] do
      assert result(tensors, Map.put(metadata("qwen3"), "qwen3.#{key}", value)) =~ message
    end

    assert result(tensors("phi3"), Map.put(metadata("phi3"), "phi3.rope.dimension_count", 18)) =~ "at most 16"
  end

  test "factors of the rotation that are not as many as there are pairs" do
    for {architecture, name} <- [{"llama", "rope_freqs.weight"}, {"phi3", "rope_factors_long.weight"}] do
      metadata = Map.delete(metadata(architecture), "#{architecture}.rope.scaling.type")
      tensors = Map.put(tensors(architecture), name, Mlx.ones({5}))
      # Mixtral has no scaled positions, as its config.json.
      metadata = Map.delete(metadata, "llama.expert_count")
      assert result(tensors, metadata) =~ "long_factor"
    end
  end

  test "a file of another architecture, and one of several", %{tmp_dir: folder} do
    path = Path.join(folder, "part.gguf")

    for {key, value, message} <- [
          {"general.architecture", "mamba", ~s(part.gguf: general.architecture is "mamba", expected one of gemma)},
          {"split.count", 3, "part.gguf: split.count is 3, expected a file that holds the whole model"}
        ] do
      TinyLlama.save(path, %{key => value})
      assert_raise Mlx.Error, ~r/#{message}/, fn -> Mlx.LM.load(path) end
    end
  end

  test "requantizing as MLX cannot, or of what is dense or a folder", %{tmp_dir: folder} do
    path = Path.join(folder, "tiny.gguf")
    TinyLlama.save(path)
    assert_raise ArgumentError, ~r/:requantize/, fn -> Mlx.LM.load(path, requantize: [bits: 99]) end
    assert_raise ArgumentError, ~r/:requantize/, fn -> Mlx.LM.load(path, requantize: [bits: 4], form: :dense) end
    File.write!(Path.join(folder, "config.json"), "{}")
    assert_raise ArgumentError, ~r/^Mlx.LM.load: .*:requantize/, fn -> Mlx.LM.load(folder, requantize: [bits: 4]) end
  end
end
