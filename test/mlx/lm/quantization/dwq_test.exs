defmodule Mlx.LM.Quantization.DWQTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Checkpoint
  alias Mlx.LM.Quantization.{Distillation, DWQ, Packing}
  alias Mlx.LM.Sampler.OptionTable

  @moduletag :oracle
  @moduletag :tmp_dir

  @script Path.expand("../../../oracle/dwq.py", __DIR__)

  # What dwq.py has in CASES. A number whose last bits in :f32 differ may be rounded to its neighbour in 16 bits, sooner or later.
  @cases %{
    "llama" => [packing: [group_size: 32, bits: 3], rate: 1.0e-3, temperature: 2.0, type: :f32, tolerance: 1.0e-5],
    "tied" => [packing: [group_size: 64, bits: 4], rate: 1.0e-4, temperature: 1.0, type: :f32, tolerance: 1.0e-5],
    "experts" => [packing: [group_size: 32, bits: 4], rate: 1.0e-4, temperature: 2.0, type: :f32, tolerance: 1.0e-5],
    "half" => [packing: [group_size: 32, bits: 3], rate: 1.0e-3, temperature: 2.0, type: :bf16, tolerance: 1.0e-2]
  }

  test "each step has the loss of mlx-lm's, trained numbers are its in the end, and the divergence falls", %{
    tmp_dir: folder
  } do
    {output, status} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, folder], stderr_to_stdout: true)
    assert status == 0, output
    assert folder |> File.ls!() |> Enum.sort() == @cases |> Map.keys() |> Enum.sort()
    for {name, settings} <- @cases, do: check(name, Path.join(folder, name), settings)
  end

  defp check(name, folder, settings) do
    decoder = Checkpoint.tree(Path.join(folder, "model"), type: :f32)
    tokens = Mlx.IO.load(Path.join(folder, "tokens.safetensors"))["tokens"]
    {steps, rows, length} = tokens.shape

    batches =
      for step <- 0..(steps - 1), do: tokens |> Mlx.slice([step, 0, 0], [1, rows, length]) |> Mlx.squeeze(axes: [0])

    test = self()
    own = [learning_rate: settings[:rate], temperature: settings[:temperature], report: &send(test, {:loss, &1, &2})]

    quantized =
      DWQ.quantize(decoder, %{
        choose: fn _path, layer -> chosen(layer, settings[:packing]) end,
        batches: batches,
        options: Keyword.merge(OptionTable.defaults(DWQ.options()), own),
        type: settings[:type],
        report: fn _progress -> :ok end
      })

    result = Mlx.IO.load(Path.join(folder, "result.safetensors"))
    losses = for step <- 1..steps, do: assert_received({:loss, ^step, loss}) && loss
    assert furthest(losses, Mlx.to_list(result["losses"])) < settings[:tolerance], "the losses of #{name}"
    assert losses |> Enum.take(3) |> furthest(Mlx.to_list(result["losses"])) < 1.0e-5, "the first losses of #{name}"

    first = hd(batches)
    targets = Distillation.targets(decoder, first)
    [start, last] = Mlx.to_list(result["first"])
    left = quantized |> in_f32() |> Distillation.loss(first, targets, settings[:temperature], false) |> Mlx.to_number()
    assert furthest([hd(losses), left], [start, last]) < settings[:tolerance], "the divergence of #{name}"
    assert left < 0.97 * hd(losses), "the divergence of #{name} is #{left}, and was #{hd(losses)}"

    trained = trained(quantized)
    assert map_size(trained) == Enum.count(Map.keys(result), &String.starts_with?(&1, "end."))
    pairs = for {path, array} <- trained, do: {array, result["start." <> path], result["end." <> path]}
    apart = Enum.sum_by(pairs, fn {ours, _start, theirs} -> total(ours, theirs) end)
    moved = Enum.sum_by(pairs, fn {_ours, start, theirs} -> total(start, theirs) end)

    assert apart < settings[:tolerance] * moved,
           "what is trained in #{name} is #{apart / moved} of what they moved away"
  end

  # mlx-lm quantizes the matrix of experts' scores, too.
  defp chosen(layer, packing) do
    if is_map_key(layer, :weight) and tuple_size(layer.weight.shape) > 1, do: [mode: :affine] ++ packing, else: false
  end

  defp trained(decoder) do
    packed = Packing.packings(decoder)

    for {path, array} <- decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten(),
        not is_map_key(packed, Path.rootname(path)) or Path.extname(path) in [".scales", ".biases"],
        into: %{},
        do: {path, array}
  end

  defp in_f32(decoder) do
    arrays = Map.new(trained(decoder), fn {path, array} -> {path, Mlx.as_type(array, :f32)} end)
    Distillation.with_arrays(decoder, arrays)
  end

  defp total(a, b), do: a |> Mlx.as_type(:f32) |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.sum() |> Mlx.to_number()
  defp furthest(ours, theirs), do: Enum.zip_with(ours, theirs, fn a, b -> abs(a - b) / b end) |> Enum.max()
end
