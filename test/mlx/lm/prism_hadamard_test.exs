defmodule Mlx.LM.PrismHadamardTest do
  # Matrices in a rotated basis: the same model packed and unpacked, and what is wrong with files of such.
  use ExUnit.Case, async: false

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Families.Fields
  alias Mlx.Test.DecoderOutputs

  @packing [group_size: 128, bits: 2]

  @config %{
    "model_type" => "prism_hadamard_qwen35",
    "tensor_namespace" => "mlx-vlm-qwen3_5",
    "quantization" => %{"group_size" => 128, "bits" => 2, "mode" => "affine"},
    "modules" => [
      %{"path" => "model.embed_tokens", "embedding" => true, "dtype" => "float16", "block" => 512},
      %{"path" => "model.layers.0.mlp.up_proj", "embedding" => false, "dtype" => "float16", "block" => 512},
      %{"path" => "model.layers.0.mlp.gate_proj", "embedding" => false, "dtype" => "float16", "block" => 0}
    ],
    "text_config" => %{
      "hidden_size" => 512,
      "intermediate_size" => 64,
      "num_hidden_layers" => 1,
      "full_attention_interval" => 1,
      "num_attention_heads" => 4,
      "num_key_value_heads" => 2,
      "linear_num_value_heads" => 2,
      "linear_num_key_heads" => 2,
      "linear_key_head_dim" => 16,
      "linear_value_head_dim" => 16,
      "rms_norm_eps" => 1.0e-5,
      "vocab_size" => 96,
      "tie_word_embeddings" => true
    }
  }

  # Packed matrices where `modules` has one, and signs where its block is not 0.
  defp tensors do
    blocks = for %{"path" => path, "block" => block} <- @config["modules"], into: %{}, do: {path, block}
    {family, text} = Mlx.LM.Families.find(Fields.new(@config))
    whole = Decoder.new(family.config(text)) |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten()

    for {{name, %{shape: shape}}, seed} <- Enum.with_index(whole),
        path = String.replace_suffix(name, ".weight", ""),
        pair <- tensor(name, path, Mlx.Random.normal(shape, scale: 0.2, key: Mlx.Random.key(seed)), blocks[path]),
        into: %{},
        do: pair
  end

  defp tensor(name, _path, array, nil), do: [{name, array}]

  defp tensor(name, path, array, block) do
    {weight, scales, biases} = Mlx.quantize(array, @packing)
    signs = Mlx.sign(Mlx.Random.normal({512}, key: Mlx.Random.key(99)))
    signs = if block == 0, do: [], else: [{path <> ".signs", signs}]
    [{name, weight}, {path <> ".scales", scales}, {path <> ".biases", biases}] ++ signs
  end

  defp logits(decoder) do
    {logits, _caches} = Decoder.logits(decoder, Mlx.array([[3, 17, 95, 0, 41]]), Decoder.caches(decoder))
    logits
  end

  test "a model with packed matrices gives what it gives with unpacked ones" do
    [packed, dense] =
      for form <- [:quantized, :dense] do
        Checkpoint.from_tensors(tensors(), Fields.new(@config)) |> Decoder.for_inference(form: form) |> logits()
      end

    assert DecoderOutputs.distance(packed, dense) < 1.0e-5

    without_signs =
      Map.new(tensors(), fn {name, array} -> {name, if(name =~ "signs", do: Mlx.abs(array), else: array)} end)

    other = Checkpoint.from_tensors(without_signs, Fields.new(@config)) |> Decoder.for_inference() |> logits()
    assert DecoderOutputs.distance(other, dense) > 0.1
  end

  test "what does not fit is named" do
    signs = Map.put(tensors(), "model.embed_tokens.signs", Mlx.full({512}, 0.5))
    assert_raise Mlx.Error, ~r/expected signs to be 1 and -1/, fn -> load(signs, %{}) end

    [first | _] = modules = @config["modules"]
    missing = %{"path" => "model.layers.0.mlp.down_proj", "embedding" => false, "dtype" => "float16", "block" => 512}
    refused(tensors(), modules ++ [missing], ~r/model.layers.0.mlp.down_proj is none/)
    refused(tensors(), [%{first | "block" => 1024}], ~r/blocks of a divisor of 512, the inputs of model.embed_tokens/)
    refused(tensors(), [%{first | "embedding" => false}], ~r/which is Mlx.NN.QuantizedEmbedding/)
    refused(tensors(), [first, first], ~r/a list of objects with a path each/)
    refused(tensors(), [%{first | "dtype" => "bfloat16"}], ~r/whose dtype is "float16"/)

    assert_raise Mlx.Error, ~r/tensor_namespace .*expected mlx-lm-text/, fn ->
      load(tensors(), %{"schema_version" => 1})
    end

    assert_raise Mlx.Error, ~r/quantization .*2 bits/, fn -> load(tensors(), %{"quantization" => %{"bits" => 4}}) end
  end

  defp refused(tensors, modules, message) do
    assert_raise Mlx.Error, message, fn -> load(tensors, %{"modules" => modules}) end
  end

  defp load(tensors, different), do: Checkpoint.from_tensors(tensors, Fields.new(Map.merge(@config, different)))
end
