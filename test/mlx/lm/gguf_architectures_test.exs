defmodule Mlx.LM.GGUFArchitecturesTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.GGUFMetadata
  alias Mlx.GGUFCases
  alias Mlx.LM.{Checkpoint, Decoder, GGUFModel}
  alias Mlx.LM.Decoder.DenseLinear
  alias Mlx.NN.Linear

  @moduletag :oracle
  @moduletag :tmp_dir

  @tolerance 1.0e-5

  # More than a window long.
  @ids for index <- 0..19, do: rem(index * 37 + 11, 96)

  defp logits(model) do
    {logits, _caches} = Decoder.logits(model, Mlx.array([@ids]), Decoder.caches(model))
    Mlx.eval(Mlx.as_type(logits, :f32))
  end

  defp gguf(path, options) do
    %{metadata: metadata} = GGUFMetadata.read(path)
    :ok = GGUFModel.check!(metadata, path)
    GGUFModel.load(path, metadata, options)
  end

  defp distance(a, b) do
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  defp problems(folder) do
    expected = logits(Checkpoint.load(folder, type: :f32))
    path = Path.join(folder, "model.gguf")

    for form <- [:dense, :quantized],
        distance = distance(logits(gguf(path, form: form, type: :f32)), expected),
        not (distance <= @tolerance),
        do: {form, distance}
  end

  test "files give what the same models give with a config.json", %{tmp_dir: folder} do
    assert GGUFCases.write(folder, GGUFCases.all()) == nil

    wrong =
      for {name, _, _, _, _} <- GGUFCases.all(), problems = problems(Path.join(folder, name)), problems != [] do
        {name, problems}
      end

    assert wrong == []

    assert Enum.sort(Enum.uniq(for {_, architecture, _, _, _} <- GGUFCases.all(), do: architecture)) ==
             GGUFModel.architectures()
  end

  test "quantized matrices are multiplied in the types of a GPU", %{tmp_dir: folder} do
    names = ["llama-q4k", "gemma3-linear", "gpt-oss-mxfp4"]
    assert GGUFCases.write(folder, for({name, _, _, _, _} = one <- GGUFCases.all(), name in names, do: one)) == nil

    for name <- names, {type, tolerance} <- [f16: 0.02, bf16: 0.1] do
      path = Path.join([folder, name, "model.gguf"])
      model = gguf(path, form: :quantized, type: type)
      {logits, _caches} = Decoder.logits(model, Mlx.array([@ids]), Decoder.caches(model))
      assert logits.type == type
      assert distance(Mlx.as_type(logits, :f32), logits(gguf(path, form: :dense, type: :f32))) < tolerance
    end
  end

  test "matrices of formats without an exact form are dense, or requantized", %{tmp_dir: folder} do
    assert GGUFCases.write(folder, for({"qwen3-q6k", _, _, _, _} = one <- GGUFCases.all(), do: one)) == nil
    path = Path.join(folder, "qwen3-q6k/model.gguf")
    dense = gguf(path, form: :quantized, type: :f32)
    assert %{o_proj: %kind{}} = hd(dense.model.layers).self_attn
    assert kind in [DenseLinear, Linear]
    expected = logits(dense)

    for {options, bits} <- [{[group_size: 64, bits: 8], 8}, {[group_size: 32, bits: 6], 6}] do
      requantized = gguf(path, requantize: options, type: :f32)
      assert %{scales: _, bits: ^bits} = hd(requantized.model.layers).self_attn.o_proj
      assert distance(logits(requantized), expected) < 0.2
    end
  end
end
