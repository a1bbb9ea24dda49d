defmodule Mlx.LM.LlamaTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Llama, Weights}
  alias Mlx.TinyLlama

  @ids [7, 3, 200, 41, 99, 12, 250, 1, 77, 130]

  defp config(changes \\ %{}), do: Llama.Config.from_gguf(TinyLlama.metadata(changes))

  # On a GPU the type would be f16.
  defp model(tensors \\ TinyLlama.tensors(), options \\ [type: :f32]),
    do: Llama.new(Weights.new(tensors, "tiny.gguf", options), config())

  # The logits after the last of the ids, which are read in parts.
  defp logits(model, parts) do
    {logits, _caches} =
      Enum.reduce(parts, {nil, Llama.caches(model)}, fn part, {_logits, caches} ->
        Llama.call(model, Mlx.array([part]), caches)
      end)

    logits
  end

  defp assert_close(a, b, tolerance) do
    distance = Mlx.subtract(a, b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    assert distance <= tolerance * (b |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number())
  end

  test "gives one row of logits for each sequence" do
    model = model()
    {logits, caches} = Llama.call(model, Mlx.array([@ids, Enum.reverse(@ids)]), Llama.caches(model))
    assert {logits.shape, logits.type} == {{2, 259}, :f32}
    assert Enum.map(caches, & &1.length) == [10, 10]
    assert_close(Mlx.slice(logits, [0, 0], [1, 259]), logits(model, [@ids]), 1.0e-5)
  end

  test "gives the same whether the tokens come at once, in parts, or one by one" do
    model = model()
    whole = logits(model, [@ids])
    assert_close(logits(model, Enum.chunk_every(@ids, 1)), whole, 1.0e-5)
    assert_close(logits(model, Enum.chunk_every(@ids, 4)), whole, 1.0e-5)
    assert_close(logits(model, [[7], Enum.drop(@ids, 1)]), whole, 1.0e-5)
  end

  test "looks at the order of the tokens and at nothing after a position" do
    model = model()
    swapped = [3, 7 | Enum.drop(@ids, 2)]
    refute Mlx.to_binary(logits(model, [@ids])) == Mlx.to_binary(logits(model, [swapped]))

    {_logits, [first | _]} = Llama.call(model, Mlx.array([@ids]), Llama.caches(model))
    {_logits, [other | _]} = Llama.call(model, Mlx.array([Enum.take(@ids, 9) ++ [8]]), Llama.caches(model))
    shape = [1, 2, 9, 16]
    assert_close(Mlx.slice(first.keys, [0, 0, 0, 0], shape), Mlx.slice(other.keys, [0, 0, 0, 0], shape), 1.0e-6)
  end

  test "quantized weights give the same in both forms" do
    tensors = TinyLlama.quantized_tensors()
    quantized = model(tensors, form: :quantized, type: :f32)
    assert %{bits: 8, group_size: 32} = hd(quantized.blocks).attention.projection.matrix
    dense = model(tensors, form: :dense, type: :f32)
    assert %Mlx.Array{shape: {64, 128}} = hd(dense.blocks).attention.projection.matrix
    assert_close(logits(quantized, [@ids]), logits(dense, [@ids]), 1.0e-4)
    assert_close(logits(quantized, [@ids]), logits(model(), [@ids]), 0.1)
  end

  test "matrices that are quantized in different ways become dense where they are one layer" do
    tensors = TinyLlama.quantized_tensors()

    mixed =
      Map.merge(Map.drop(tensors, for(part <- ~w(scales biases), do: "blk.0.attn_q.#{part}")), %{
        "blk.0.attn_q.weight" => TinyLlama.tensors()["blk.0.attn_q.weight"]
      })

    model = model(mixed, form: :quantized, type: :f32)
    assert %Mlx.Array{} = hd(model.blocks).attention.projection.matrix
    assert_close(logits(model, [@ids]), logits(model(), [@ids]), 0.1)
  end

  test "computes in the type that is asked for" do
    half = model(TinyLlama.tensors(), type: :f16)
    assert logits(half, [@ids]).type == :f16
    assert_close(Mlx.as_type(logits(half, [@ids]), :f32), logits(model(), [@ids]), 0.05)
  end

  test "uses an output matrix, biases and stretched frequencies where the file has them" do
    tensors = TinyLlama.tensors()
    plain = logits(model(tensors), [@ids])

    output = Map.put(tensors, "output.weight", Mlx.negate(tensors["token_embd.weight"]))
    assert_close(logits(model(output), [@ids]), Mlx.negate(plain), 1.0e-6)

    none = Map.put(tensors, "rope_freqs.weight", Mlx.ones({8}))
    assert_close(logits(model(none), [@ids]), plain, 1.0e-4)
    stretched = Map.put(tensors, "rope_freqs.weight", Mlx.full({8}, 8.0))
    refute Mlx.to_binary(logits(model(stretched), [@ids])) == Mlx.to_binary(plain)

    biases = for {part, size} <- [q: 64, k: 32, v: 32], into: %{}, do: {"blk.0.attn_#{part}.bias", Mlx.zeros({size})}
    assert_close(logits(model(Map.merge(tensors, biases)), [@ids]), plain, 1.0e-6)
    biased = Map.put(biases, "blk.0.attn_v.bias", Mlx.ones({32}))
    refute Mlx.to_binary(logits(model(Map.merge(tensors, biased)), [@ids])) == Mlx.to_binary(plain)
  end

  test "names a tensor that is missing" do
    for name <- ["blk.1.attn_k.weight", "output_norm.weight", "token_embd.weight"] do
      assert_raise Mlx.Error, ~r/tiny\.gguf has no tensor "#{Regex.escape(name)}"/, fn ->
        model(Map.delete(TinyLlama.tensors(), name))
      end
    end
  end

  test "refuses an unknown form" do
    assert_raise ArgumentError, ~r/:form/, fn -> Weights.new(%{}, "tiny.gguf", form: :packed) end
  end

  describe "the configuration" do
    test "is that of the metadata, with Llama's defaults" do
      config = config(%{"llama.rope.scaling.type" => "linear", "llama.rope.scaling.factor" => 4.0})
      assert %{layers: 2, heads: 4, key_value_heads: 2, head_size: 16, rope_dimensions: 16, rope_scale: 0.25} = config
      metadata = Map.drop(TinyLlama.metadata(), ["llama.attention.head_count_kv", "llama.rope.freq_base"])
      assert %{key_value_heads: 4, rope_base: 10_000.0, rope_scale: 1.0} = Llama.Config.from_gguf(metadata)
    end

    for {key, value} <- [
          {"block_count", 0},
          {"embedding_length", "wide"},
          {"context_length", nil},
          {"attention.layer_norm_rms_epsilon", :nan}
        ] do
      test "names #{key} when it is #{inspect(value)}" do
        assert_raise Mlx.Error, ~r/llama\.#{unquote(key)}/, fn ->
          config(%{"llama.#{unquote(key)}" => unquote(value)})
        end
      end
    end

    test "refuses what the model does not have" do
      assert_raise Mlx.Error, ~r/experts/, fn -> config(%{"llama.expert_count" => 8}) end
      assert_raise Mlx.Error, ~r/yarn/, fn -> config(%{"llama.rope.scaling.type" => "yarn"}) end
    end
  end
end
