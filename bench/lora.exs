for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.LoRA do
  @moduledoc false
  # lora.py trains the same adapters with mlx-lm's trainer. Both make so many steps by turns, and validate after them.

  alias Bench.{Rounds, Table}
  alias Mlx.LM.{FineTuning, TrainingData}

  @data Path.expand("../livebooks/owl", __DIR__)
  @turn 10
  @batch_size 4
  @rate 1.0e-4
  @settings [layers: 16, rank: 8, scale: 20.0, seed: 1]

  def run(arguments) do
    steps = arguments |> Enum.at(0, "100") |> String.to_integer()
    folder = Path.join(System.tmp_dir!(), "mlx-bench-lora-#{System.pid()}")
    File.mkdir_p!(folder)

    try do
      compare(folder, steps)
    after
      File.rm_rf!(folder)
    end
  end

  defp compare(folder, steps) do
    model = Path.join(folder, "model")
    Mlx.LM.convert(System.fetch_env!("MLX_TEST_MODEL"), model, dequantize: true, type: :f32)
    Mlx.Memory.clear_cache()
    tuning = FineTuning.load(model, @settings)
    FineTuning.save(tuning, Path.join(folder, "start"))
    trainer = start(tuning, steps)
    arguments = Enum.map([model, Path.join(folder, "start"), @data, steps, @turn, @batch_size, @rate], &to_string/1)
    turns = Rounds.alternate("lora.py", arguments, div(steps, @turn), fn -> turn(trainer) end)
    report(turns)
  end

  defp start(tuning, steps) do
    bench = self()
    [data, validation] = for name <- ["train", "valid"], do: data(tuning, name)
    batches = TrainingData.batches(validation, @batch_size, mean_of: :all, drop_last: true)

    wait = fn
      :report, %{step: step} = training when rem(step, @turn) == 0 ->
        seconds = (System.monotonic_time() - Process.get(:started)) / System.convert_time_unit(1, :second, :native)
        losses = for {_step, loss} <- Enum.take(training.losses, @turn), do: loss
        loss = tuning |> FineTuning.put(training) |> FineTuning.loss(batches)
        send(bench, {:turn, [seconds, Process.get(:peak, Mlx.Memory.peak()) | Enum.reverse(losses)] ++ [loss]})
        await()

      _event, _training ->
        :ok
    end

    spawn_link(fn ->
      await()

      FineTuning.train(tuning, data, Mlx.Optimizers.Adam.new(@rate),
        batch_size: @batch_size,
        sort: false,
        shuffle: false,
        steps: steps,
        report_every: 1,
        callbacks: [wait],
        progress: nil
      )
    end)
  end

  defp data(tuning, name), do: TrainingData.open(Path.join(@data, "#{name}.jsonl"), tuning, mask_prompt: true)

  defp await do
    receive do
      :go -> Process.put(:started, System.monotonic_time())
    after
      600_000 -> exit(:normal)
    end

    Mlx.Memory.reset_peak()
  end

  defp turn(trainer) do
    send(trainer, :go)

    receive do
      {:turn, numbers} -> numbers
    end
  end

  # The first turn makes kernels.
  defp report([_first | later] = turns) do
    [ours, theirs] = for side <- [0, 1], do: Enum.map(turns, &elem(&1, side))
    losses = fn side -> Enum.flat_map(side, fn [_seconds, _peak | numbers] -> Enum.drop(numbers, -1) end) end
    validations = fn side -> Enum.map(side, &List.last/1) end
    apart = fn of -> Enum.zip_with(of.(ours), of.(theirs), &(abs(&1 - &2) / &2)) |> Enum.max() end

    for {turn, mine, other} <- Enum.zip([Enum.with_index(ours, 1) |> Enum.map(&elem(&1, 1)), ours, theirs]) do
      IO.puts(
        "after #{turn * @turn} steps: loss #{Enum.at(mine, -2)} and #{Enum.at(other, -2)}, " <>
          "validation #{List.last(mine)} and #{List.last(other)}"
      )
    end

    IO.puts("greatest relative difference of #{length(losses.(ours))} losses: #{apart.(losses)}")
    IO.puts("greatest relative difference of #{length(turns)} validations: #{apart.(validations)}")

    [ours, theirs] = for side <- [0, 1], do: Enum.map(later, &elem(&1, side))
    [seconds, their_seconds] = for side <- [ours, theirs], do: side |> Enum.map(&hd/1) |> Enum.sum()
    [peak, their_peak] = for side <- [ours, theirs], do: side |> Enum.map(&Enum.at(&1, 1)) |> Enum.max()
    count = length(later) * @turn
    ratios = Enum.zip_with(ours, theirs, fn [a | _], [b | _] -> b / a end)
    Table.header("LoRA of SmolLM2-135M", "Mlx", "mlx-lm")

    Table.print(["steps in a second", "most memory (MB)"], [count / seconds, peak / 1.0e6], [
      count / their_seconds,
      their_peak / 1.0e6
    ])

    IO.puts("memory ratio: #{Table.format(peak / their_peak)}")
    IO.puts("lora ratio: #{Table.format(Rounds.median(ratios))}")
  end
end

Bench.LoRA.run(System.argv())
