defmodule Mlx.LM.FineTuningSmolLM2Test do
  # bench/lora compares 100 steps. This is the same with few tokens, which two cores compute in half a minute.
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder, FineTuning, TrainingData}
  alias Mlx.TuningOracle

  @moduletag :oracle
  @moduletag :model
  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  @owl Path.expand("../../../livebooks/owl", __DIR__)
  @tolerance 2.0e-5

  test "SmolLM2 has the losses of mlx-lm, and its fused model the logits of the adapted one", %{tmp_dir: folder} do
    model = Path.join(folder, "model")
    Mlx.LM.convert(System.fetch_env!("MLX_TEST_MODEL"), model, dequantize: true, type: :f32)
    tuning = FineTuning.load(model, layers: 2, seed: 1)
    FineTuning.save(tuning, Path.join(folder, "start"))
    data = TrainingData.open(Path.join(@owl, "valid.jsonl"), tuning, mask_prompt: true, max_length: 56)
    batches = data |> TrainingData.batches(2) |> Enum.take(3)

    tensors =
      for {batch, number} <- Enum.with_index(batches),
          {name, array} <- [{"ids", batch.ids}, {"lengths", Mlx.stack([batch.from, batch.to], axis: 1)}],
          into: %{},
          do: {"#{number}.#{name}", array}

    Mlx.IO.save(Path.join(folder, "batches.safetensors"), tensors)
    TuningOracle.run!("same", folder)
    theirs = Mlx.IO.load(Path.join(folder, "result.safetensors"))

    {tuned, training} =
      FineTuning.train(tuning, batches, Mlx.Optimizers.Adam.new(1.0e-4), report_every: 1, progress: nil)

    ours = for {_step, loss} <- Enum.reverse(training.losses), do: loss
    assert [first, _second, third] = ours
    assert first != third

    for {loss, expected} <-
          Enum.zip([FineTuning.loss(tuned, [hd(batches)]) | ours], [
            Mlx.to_number(theirs["validation"]) | Mlx.to_list(theirs["losses"])
          ]) do
      assert abs(loss - expected) / expected < @tolerance
    end

    FineTuning.save(tuned, Path.join(folder, "adapter"))
    FineTuning.fuse(model, Path.join(folder, "adapter"), Path.join(folder, "fused"))
    ids = hd(batches).ids
    adapted = Decoder.training_logits(tuned.decoder, ids)
    fused = Decoder.training_logits(Checkpoint.tree(Path.join(folder, "fused")), ids)
    assert adapted |> Mlx.subtract(fused) |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number() < 0.01
    most = adapted |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    assert most > 5
  end
end
