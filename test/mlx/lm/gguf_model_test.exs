defmodule Mlx.LM.GGUFModelTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Decoder, GGUFModel}
  alias Mlx.LM.Decoder.DenseLinear
  alias Mlx.NN.Linear
  alias Mlx.TinyLlama

  @ids [7, 3, 200, 41, 99, 12, 250, 1, 77, 130]

  # On a GPU the type would be f16.
  defp model(tensors \\ TinyLlama.tensors(), options \\ [type: :f32], changes \\ %{}) do
    # Tensors that a model is made of are given up.
    tensors
    |> Map.new(fn {name, array} -> {name, Mlx.copy(array)} end)
    |> GGUFModel.new(TinyLlama.metadata(changes), "tiny.gguf", [quantization: quantization(tensors)] ++ options)
  end

  defp quantization(tensors) do
    for {name, %{type: :u32}} <- tensors, into: %{}, do: {name, [mode: :affine, group_size: 32, bits: 8]}
  end

  defp attention(model), do: hd(model.model.layers).self_attn

  # The logits after the last of the ids, which are read in parts.
  defp logits(model, parts) do
    {logits, _caches} =
      Enum.reduce(parts, {nil, Decoder.caches(model)}, fn part, {_logits, caches} ->
        Decoder.call(model, Mlx.array([part]), caches)
      end)

    logits
  end

  defp assert_close(a, b, tolerance) do
    distance = Mlx.subtract(a, b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    assert distance <= tolerance * (b |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number())
  end

  test "gives one row of logits for each sequence" do
    model = model()
    {logits, caches} = Decoder.call(model, Mlx.array([@ids, Enum.reverse(@ids)]), Decoder.caches(model))
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

  test "gives all logits, of which the last are those of a call" do
    model = model()
    {all, _caches} = Decoder.logits(model, Mlx.array([@ids]), Decoder.caches(model))
    assert all.shape == {1, 10, 259}
    assert_close(Mlx.slice(all, [0, 9, 0], [1, 1, 259]), Mlx.new_axis(logits(model, [@ids]), 1), 1.0e-5)
    assert_close(Mlx.slice(all, [0, 3, 0], [1, 1, 259]), Mlx.new_axis(logits(model, [Enum.take(@ids, 4)]), 1), 1.0e-5)
  end

  test "looks at the order of the tokens and at nothing after a position" do
    model = model()
    swapped = [3, 7 | Enum.drop(@ids, 2)]
    refute Mlx.to_binary(logits(model, [@ids])) == Mlx.to_binary(logits(model, [swapped]))

    {_logits, [first | _]} = Decoder.call(model, Mlx.array([@ids]), Decoder.caches(model))
    {_logits, [other | _]} = Decoder.call(model, Mlx.array([Enum.take(@ids, 9) ++ [8]]), Decoder.caches(model))
    shape = [1, 2, 9, 16]
    assert_close(Mlx.slice(first.keys, [0, 0, 0, 0], shape), Mlx.slice(other.keys, [0, 0, 0, 0], shape), 1.0e-6)
  end

  test "matrices of one input are one" do
    assert %{q_proj: nil, k_proj: nil, v_proj: nil} = attention(model())
    assert %{gate_proj: nil, up_proj: nil} = hd(model().model.layers).mlp
  end

  test "quantized weights give the same in both forms" do
    tensors = TinyLlama.quantized_tensors()
    quantized = model(tensors, form: :quantized, type: :f32)
    assert %{scales: _, bits: 8, group_size: 32} = attention(quantized).qkv_proj
    dense = model(tensors, form: :dense, type: :f32)
    assert [%kind{}] = [attention(dense).qkv_proj]
    assert kind in [DenseLinear, Linear]
    assert_close(logits(quantized, [@ids]), logits(dense, [@ids]), 1.0e-4)
    assert_close(logits(quantized, [@ids]), logits(model(), [@ids]), 0.1)
  end

  test "matrices that are quantized in different ways stay apart" do
    tensors = TinyLlama.quantized_tensors()

    mixed =
      Map.merge(Map.drop(tensors, for(part <- ~w(scales biases), do: "blk.0.attn_q.#{part}")), %{
        "blk.0.attn_q.weight" => TinyLlama.tensors()["blk.0.attn_q.weight"]
      })

    model = model(mixed, form: :quantized, type: :f32)
    assert %{qkv_proj: nil, k_proj: %{scales: _}} = attention(model)
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

  test "scales positions where the file says so" do
    linear = %{"llama.rope.scaling.type" => "linear", "llama.rope.scaling.factor" => 4.0}
    assert attention(model(TinyLlama.tensors(), [type: :f32], linear)).rope.scale == 0.25
    assert attention(model()).rope.scale == 1.0
  end

  test "names a tensor that is missing, one of another shape, and one that has no place" do
    tensors = TinyLlama.tensors()

    for {name, ours} <- [
          {"blk.1.attn_k.weight", "model.layers.1.self_attn.k_proj.weight {32, 64} is missing"},
          {"output_norm.weight", "model.norm.weight {64} is missing"}
        ] do
      assert_raise Mlx.Error, ~r/^tiny\.gguf .*#{Regex.escape(ours)}/, fn -> model(Map.delete(tensors, name)) end
    end

    assert_raise Mlx.Error, ~r/model\.norm\.weight has the shape \{63\}, expected \{64\}/, fn ->
      model(Map.put(tensors, "output_norm.weight", Mlx.zeros({63})))
    end

    assert_raise Mlx.Error, ~r/model\.layers\.2\.self_attn\.q_proj\.weight \{1\} has no place in the model/, fn ->
      model(Map.put(tensors, "blk.2.attn_q.weight", Mlx.zeros({1})))
    end
  end

  test "refuses an unknown form" do
    assert_raise ArgumentError, ~r/:form/, fn -> model(TinyLlama.tensors(), form: :packed) end
  end

  describe "the metadata" do
    for {key, value} <- [
          {"block_count", 0},
          {"embedding_length", "wide"},
          {"context_length", nil},
          {"attention.layer_norm_rms_epsilon", :nan},
          {"expert_count", -1},
          {"rope.scaling.type", "squeezed"},
          {"rope.dimension_count", 18}
        ] do
      test "is refused when #{key} is #{inspect(value)}" do
        expected = if unquote(key) == "rope.dimension_count", do: ~r/rotated/, else: ~r/llama\.#{unquote(key)} is/
        changes = %{"llama.#{unquote(key)}" => unquote(value)}
        assert_raise Mlx.Error, expected, fn -> model(TinyLlama.tensors(), [], changes) end
      end
    end
  end
end
