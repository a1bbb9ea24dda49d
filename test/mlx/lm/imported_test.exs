defmodule Mlx.LM.ImportedTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.NN.{Linear, QuantizedLinear, QuantizedMatrix}

  @moduletag :oracle
  @moduletag :tmp_dir

  @script Path.expand("../../oracle/imported.py", __DIR__)
  @ids [[5, 9, 1, 77, 30]]

  # What the matrices of each case become: {mode, bits, group size}, or numbers.
  @forms %{
    "awq" => {:affine, 4, 64},
    "gptq-4" => {:affine, 4, 64},
    "gptq-8" => {:affine, 8, 32},
    "gptq-2" => {:affine, 2, 32},
    "gptq-symmetric" => {:affine, 4, 128},
    "gptq-channels" => {:affine, 4, 128},
    "gptq-v2" => {:affine, 4, 64},
    "gptq-order" => :numbers,
    "gptq-small" => :numbers,
    "ct-4" => {:affine, 4, 64},
    "ct-4-zeros" => {:affine, 4, 32},
    "ct-4-order" => :numbers,
    "ct-8-channels" => {:affine, 8, 128},
    "ct-int8" => {:affine, 8, 128},
    "ct-nvfp4" => {:nvfp4, 4, 16},
    "ct-nvfp4-scaled" => :numbers,
    "ct-mxfp4" => {:mxfp4, 4, 32},
    "ct-fp8-row" => :numbers,
    "ct-fp8-tensor" => :numbers,
    "ct-fp8-block" => :numbers,
    "fp8-block" => :numbers,
    "ct-mxfp8" => {:mxfp8, 8, 32},
    "fp8-mxfp8" => {:mxfp8, 8, 32},
    "fbgemm" => :numbers,
    "modelopt-nvfp4" => :numbers
  }

  setup %{tmp_dir: folder} do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, folder], stderr_to_stdout: true)
    assert status == 0, output
    :ok
  end

  defp layers(tree) do
    for {"layers." <> _ = path, %kind{} = layer} <- Mlx.NN.layers(tree.model), kind in [Linear, QuantizedLinear] do
      {"model.#{path}.weight", layer}
    end
  end

  defp form(%QuantizedLinear{} = layer), do: {layer.mode, layer.bits, layer.group_size}
  defp form(%Linear{}), do: :numbers

  defp numbers(%QuantizedLinear{} = layer) do
    Mlx.dequantize(layer.weight, layer.scales, layer.biases, QuantizedMatrix.packing(layer) ++ [type: :f32])
  end

  defp numbers(%Linear{weight: weight}), do: weight

  # Scales of f32 have products that f32 rounds.
  defp rounding("ct-int8"), do: 3.0e-8
  defp rounding(_name), do: 0.0

  defp difference(a, b), do: Mlx.subtract(a, b) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()

  defp logits(model) do
    {logits, _caches} = Decoder.call(model, Mlx.array(@ids), Decoder.caches(model))
    logits
  end

  test "all formats have exactly the numbers that they mean, and stay quantized where MLX has the form", %{
    tmp_dir: folder
  } do
    assert Enum.sort(File.ls!(folder)) == Enum.sort(Map.keys(@forms))

    for {name, form} <- @forms, folder = Path.join(folder, name) do
      expected = Mlx.IO.load(Path.join(folder, "numbers.safetensors"))
      layers = layers(Checkpoint.tree(folder, type: :f32))
      assert length(layers) == 14

      for {path, layer} <- layers do
        assert {name, path, form(layer)} == {name, path, form}
        assert {name, path, difference(numbers(layer), expected[path]) <= rounding(name)} == {name, path, true}
      end

      [quantized, dense] = for form <- [:quantized, :dense], do: logits(Checkpoint.load(folder, form: form))

      assert {name, difference(quantized, dense) < 1.0e-4 * Mlx.to_number(Mlx.reduce_max(Mlx.abs(dense)))} ==
               {name, true}
    end
  end

  test "AWQ becomes what mlx-lm makes of it", %{tmp_dir: folder} do
    folder = Path.join(folder, "awq")
    expected = Mlx.IO.load(Path.join(folder, "mlx_lm.safetensors"))
    tree = Checkpoint.tree(folder)
    ours = Map.new(Mlx.Tree.flatten(Map.take(tree, [:model, :lm_head])))
    assert Enum.sort(Map.keys(ours)) == Enum.sort(Map.keys(expected))
    for {name, array} <- ours, do: assert({name, difference(array, expected[name])} == {name, 0.0})
    for {name, array} <- ours, do: assert({name, array.type} == {name, expected[name].type})
  end

  describe "damage" do
    defp damaged(folder, name, change) do
      path = Path.join([folder, name, "model.safetensors"])
      tensors = path |> Mlx.IO.load() |> Mlx.eval()
      Mlx.IO.save(path, change.(tensors))
      message = assert_raise(Mlx.Error, fn -> Checkpoint.load(Path.join(folder, name)) end).message
      Mlx.IO.save(path, tensors)
      message
    end

    test "tensors that are missing, of another type or shape, are named", %{tmp_dir: folder} do
      layer = "model.layers.0.mlp.up_proj"

      for {name, change, message} <- [
            {"awq", &Map.delete(&1, "#{layer}.scales"), ~r/^Mlx.LM.Checkpoint.load: #{layer}\.scales is missing/},
            {"awq", &Map.put(&1, "#{layer}.qzeros", Mlx.zeros({1, 3}, type: :s32)),
             ~r/#{layer}\.qzeros has .*\{1, 3\}/},
            {"gptq-4", &Map.put(&1, "#{layer}.g_idx", Mlx.full({128}, 900, type: :s32)), ~r/g_idx names groups/},
            {"gptq-8", &Map.put(&1, "#{layer}.qweight", Mlx.zeros({8})), ~r/qweight has the type :f32/},
            {"gptq-v2", &Map.put(&1, "#{layer}.scales", Mlx.zeros({0, 256}, type: :f16)), ~r/scales has .*\{0, 256\}/},
            {"ct-4", &Map.delete(&1, "#{layer}.weight_scale"), ~r/weight_scale is missing/},
            {"ct-4-zeros", &Map.put(&1, "#{layer}.weight_shape", Mlx.array([0, 0], type: :s64)), ~r/weight_shape is/},
            {"ct-8-channels", &Map.put(&1, "#{layer}.weight_zero_point", Mlx.zeros({3, 1}, type: :s32)),
             ~r/zero_point/},
            {"ct-int8", &Map.put(&1, "#{layer}.weight_scale", Mlx.zeros({5, 1})), ~r/weight_scale has .*\{5, 1\}/},
            {"ct-nvfp4-scaled", &Map.put(&1, "#{layer}.weight_global_scale", Mlx.array([0.0])), ~r/global_scale is 0/},
            {"ct-mxfp4", &Map.put(&1, "#{layer}.weight_packed", Mlx.zeros({256, 7}, type: :u8)), ~r/packed has .*7/},
            {"fp8-block", &Map.put(&1, "#{layer}.weight_scale_inv", Mlx.zeros({2, 2})), ~r/scale of .*\{2, 2\}/},
            {"fbgemm", &Map.delete(&1, "#{layer}.weight_scale"), ~r/weight_scale is missing/},
            {"gptq-2", &Map.put(&1, "#{layer}.qweight", Mlx.zeros({4, 256}, type: :s32)), ~r/up_proj/}
          ] do
        assert damaged(folder, name, change) =~ message
      end
    end

    test "settings that are not known are named", %{tmp_dir: folder} do
      for {name, key, value} <- [
            {"awq", "bits", 3},
            {"awq", "version", "gemv"},
            {"gptq-4", "bits", 3},
            {"fp8-block", "weight_block_size", [0, 1]},
            {"fp8-block", "quant_method", "another"}
          ] do
        path = Path.join([folder, name, "config.json"])
        config = path |> File.read!() |> JSON.decode!()
        changed = put_in(config["quantization_config"][key], value)
        File.write!(path, JSON.encode!(changed))
        message = assert_raise(Mlx.Error, fn -> Checkpoint.load(Path.join(folder, name)) end).message
        assert message =~ "quantization_config.#{key}"
        File.write!(path, JSON.encode!(config))
      end
    end

    @shapes [{}, {0}, {3}, {1, 1}, {0, 64}, {64, 0}, {7, 5}, {128, 16}, {2, 2, 2}, {256, 128}, {1, 256}, {256, 1}]
    @types [:u8, :s8, :u32, :s32, :s64, :f16, :f32, :bool]
    @values [
      nil,
      0,
      -1,
      3,
      8,
      1.5,
      "x",
      [],
      [0, 0],
      %{},
      true,
      %{"g" => 1},
      %{"g" => %{"weights" => %{"num_bits" => "x"}}}
    ]
    @keys ~w(bits config_groups weight_block_size version checkpoint_format quant_method)

    test "of any kind is an error of this library, or gives a model", %{tmp_dir: folder} do
      :rand.seed(:exsss, {1, 2, 3})

      outcomes =
        for {name, _form} <- Enum.sort(@forms), count <- 1..15 do
          folder = Path.join(folder, name)
          {tensors, config} = changed(rem(count, 3), Checkpoint.tensors(folder), Checkpoint.config(folder).map)

          try do
            decoder = Checkpoint.from_tensors(tensors, Mlx.LM.Families.Fields.new(config), type: :f32)
            Mlx.eval(Map.take(decoder, [:model, :lm_head]))
            :model
          rescue
            error in Mlx.Error -> if String.length(error.message) in 10..1000, do: :error
          end
        end

      assert Enum.sort(Enum.uniq(outcomes)) == [:error, :model]
    end

    defp changed(0, tensors, config) do
      {Map.put(tensors, any(tensors), Mlx.zeros(Enum.random(@shapes), type: Enum.random(@types))), config}
    end

    defp changed(1, tensors, config), do: {Map.delete(tensors, any(tensors)), config}

    defp changed(2, tensors, config) do
      key = Enum.random(@keys ++ Map.keys(config["quantization_config"]))
      {tensors, put_in(config, ["quantization_config", key], Enum.random(@values))}
    end

    defp any(tensors), do: tensors |> Map.keys() |> Enum.sort() |> Enum.random()
  end
end
