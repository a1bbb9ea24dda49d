defmodule Mlx.LM.Quantization.FamiliesTest do
  use ExUnit.Case, async: true

  import Mlx.Test.DecoderOutputs, only: [distance: 2]

  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Quantization.{AWQ, Blockwise, DWQ, Dynamic, Folds, GPTQ, Packing}
  alias Mlx.LM.Sampler.OptionTable

  @moduletag :oracle
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @script Path.expand("../../../oracle/conversion.py", __DIR__)
  @settings [group_size: 32, bits: 4, mode: :affine]
  @ids [Enum.map(1..24, &rem(&1 * &1 * 7, 90)), Enum.map(1..24, &rem(&1 * 11, 90))]

  defp context(saved, options) do
    choose = fn path, layer ->
      columns = layer.weight.shape |> Tuple.to_list() |> List.last()
      if saved.family.packing(path) != false and rem(columns, 32) == 0, do: @settings, else: false
    end

    %{choose: choose, batches: [Mlx.array(@ids)], options: options, type: :f32, report: fn _progress -> :ok end}
  end

  # All families that mlx-lm has: random models.
  test "models of all families are scaled without a change, and quantized by all methods", %{tmp_dir: tmp} do
    {output, status} =
      System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, "make", tmp], stderr_to_stdout: true)

    assert status == 0, output
    names = tmp |> Path.join("cases") |> File.ls!() |> Enum.sort()
    assert length(names) > 60
    folded = for name <- names, do: check(name, Path.join([tmp, "cases", name]))
    assert Enum.sum(folded) > 150
  end

  defp check(name, folder) do
    decoder = Checkpoint.tree(folder, type: :f32)
    packed = Packing.packings(decoder)
    decoder = if packed == %{}, do: decoder, else: Packing.unpack(decoder, :f32)
    saved = Checkpoint.Saved.of(Checkpoint.config(folder), %{})
    [ids] = context(saved, []).batches
    whole = Decoder.training_logits(decoder, ids)

    scale = fn prefix, block, notes, first ->
      AWQ.scaled(prefix, block, notes, first, context(saved, grid: 3)) |> elem(0)
    end

    scaled = fn -> Blockwise.run(decoder, [ids], scale, fn _progress -> :ok end) end
    once? = decoder.config.loops == 1

    if once?,
      do:
        assert(
          distance(Decoder.training_logits(scaled.(), ids), whole) <= 1.0e-4,
          "#{name} is not the same with scales"
        ),
      else: assert_raise(Mlx.Error, ~r/goes through its blocks [23] times/, scaled)

    # Rounding that chooses other experts may change much in a random model.
    rounded = Packing.quantize(decoder, context(saved, []).choose)
    most = max(1.0, 3 * distance(Decoder.training_logits(rounded, ids), whole))

    for module <- if(once?, do: [GPTQ, AWQ], else: []) ++ [Dynamic, DWQ] do
      own = module.options() |> OptionTable.defaults() |> Keyword.merge(grid: 3, bits_per_weight: 16, recipe: nil)
      quantized = module.quantize(decoder, context(saved, own ++ [embedding_bits: nil]))
      far = distance(Decoder.training_logits(quantized, ids), whole)
      assert is_float(far) and far < most, "#{name} by #{inspect(module)}: #{far}"
    end

    decoder.model.layers |> Enum.map(&length(Folds.of(&1))) |> Enum.sum()
  end
end
