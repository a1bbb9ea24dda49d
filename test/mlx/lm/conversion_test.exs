defmodule Mlx.LM.ConversionTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder}

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @script Path.expand("../../oracle/conversion.py", __DIR__)
  @tolerance 1.0e-4
  @ids [[5, 9, 1, 77, 30, 2, 64, 11]]

  # Those that are other numbers afterwards: what mlx-lm bounds when it runs, and what it never reads.
  @other_numbers ["gemma3n"]
  # Those that are packed already.
  @packed ["bitnet", "prism_hadamard_qwen35", "prism_hadamard_qwen35-head"]

  defp python(arguments) do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script | arguments], stderr_to_stdout: true)
    assert status == 0, output
  end

  defp logits(folder) do
    model = Checkpoint.load(folder, form: :quantized, type: :f32)
    {logits, _caches} = Decoder.logits(model, Mlx.array(@ids), Decoder.caches(model))
    Mlx.squeeze(logits, axes: [0])
  end

  # Logits of tokens that are never written are minus infinity here and there.
  defp distance(a, b) do
    [a, b] = for x <- [a, b], do: Mlx.select(Mlx.is_negative_infinity(x), 0, x)
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  # Folders whose logits here are not those that mlx-lm has in them.
  defp different(folder) do
    python(["read", folder])

    for name <- Enum.sort(File.ls!(folder)),
        path = Path.join(folder, name),
        expected = Mlx.IO.load(Path.join(path, "logits.safetensors"))["logits"],
        distance = distance(logits(path), expected),
        not (distance <= @tolerance),
        do: {name, distance}
  end

  defp tensors(folder), do: Mlx.IO.load(Path.join(folder, "model.safetensors"))

  defp same?(a, b) do
    Map.keys(a) == Map.keys(b) and
      Enum.all?(a, fn {name, x} ->
        {x.type, x.shape, Mlx.to_binary(x)} == {b[name].type, b[name].shape, Mlx.to_binary(b[name])}
      end)
  end

  # How mlx-lm takes each layer by a config.json.
  defp packing(config, layer) do
    settings = config["quantization"]
    own = if is_map(settings[layer]), do: settings[layer], else: settings
    {own["group_size"], own["bits"], Map.get(own, "mode", "affine")}
  end

  defp config(folder), do: Checkpoint.config(folder).map

  test "folders are those that mlx-lm has, for all families, and mlx-lm loads what is quantized here", %{tmp_dir: tmp} do
    python(["make", tmp])
    cases = File.ls!(Path.join(tmp, "cases"))
    assert length(cases) > 60

    other =
      for name <- Enum.sort(cases), folder = Path.join([tmp, "cases", name]) do
        plain = Path.join([tmp, "plain", name])
        Mlx.LM.convert(folder, plain)
        assert distance(logits(plain), logits(folder)) <= 1.0e-6, "#{name} computes something else afterwards"

        if name not in @packed do
          Mlx.LM.convert(folder, Path.join([tmp, "quantized", name]), quantize: [group_size: 32])
        end

        if not same?(tensors(plain), tensors(folder)), do: name
      end

    assert Enum.reject(other, &(&1 == nil)) == @other_numbers
    assert different(Path.join(tmp, "quantized")) == []
    assert different(Path.join(tmp, "plain")) == []

    # What either converts has the same bits, and the other loads it.
    llama = Path.join(tmp, "llama")
    recipes = Enum.sort(File.ls!(Path.join(tmp, "recipes")))
    assert length(recipes) == 9

    for name <- recipes do
      [theirs, ours] = for kind <- ["recipes", "ours"], do: Path.join([tmp, kind, name])
      Mlx.LM.convert(llama, ours, quantize: options(name))
      assert same?(tensors(ours), tensors(theirs)), "#{name} has other tensors"

      layers = for tensor <- Map.keys(tensors(ours)), String.ends_with?(tensor, ".scales"), do: Path.rootname(tensor)
      for layer <- layers, do: assert(packing(config(ours), layer) == packing(config(theirs), layer))

      [mine, index] =
        for folder <- [ours, theirs], do: JSON.decode!(File.read!("#{folder}/model.safetensors.index.json"))

      assert mine == index
    end

    assert different(Path.join(tmp, "ours")) == []
    assert different(Path.join(tmp, "recipes")) == []

    dense = Path.join(tmp, "dense")
    Mlx.LM.convert(Path.join(tmp, "recipes/affine-4"), dense, dequantize: true)
    assert same?(tensors(dense), tensors(Path.join(tmp, "dequantized")))
    refute Map.has_key?(config(dense), "quantization")
  end

  defp options("mixed" <> _rest = recipe), do: [recipe: String.to_existing_atom(recipe)]
  defp options("affine-4"), do: [bits: 4]
  defp options("affine-3"), do: [bits: 3, group_size: 32]
  defp options(mode), do: [mode: String.to_existing_atom(mode)]
end
