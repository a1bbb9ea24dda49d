for file <- ["rounds.exs", "table.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.LoRA do
  @moduledoc false
  # lora.py trains the same adapters with mlx-lm's trainer. Both make so many steps by turns, and validate after them.

  alias Bench.{Rounds, Table}
  alias Mlx.LM.{FineTuning, TrainingData}

  @data Path.expand("../livebooks/owl", __DIR__)
  @turn "BENCH_TURN" |> System.get_env("10") |> String.to_integer()
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
        {seconds, processor} = Process.get(:started)
        times = [now() - seconds, processor_time() - processor]
        losses = for {_step, loss} <- Enum.take(training.losses, @turn), do: loss
        peak = Mlx.Memory.peak()
        loss = tuning |> FineTuning.put(training) |> FineTuning.loss(batches)
        send(bench, {:turn, times ++ [peak | Enum.reverse(losses)] ++ [loss]})
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
      :go -> Process.put(:started, {now(), processor_time()})
    end

    Mlx.Memory.reset_peak()
  end

  defp now, do: System.monotonic_time(:microsecond) / 1.0e6

  # What all threads of the program have taken.
  defp processor_time, do: elem(:erlang.statistics(:runtime), 0) / 1000

  defp turn(trainer) do
    send(trainer, :go)

    receive do
      {:turn, numbers} -> numbers
    end
  end

  # The first turn makes kernels.
  defp report([_first | later] = turns) do
    [ours, theirs] = for side <- [0, 1], do: Enum.map(turns, &elem(&1, side))

    losses = fn side ->
      Enum.flat_map(side, fn [_seconds, _processor, _peak | numbers] -> Enum.drop(numbers, -1) end)
    end

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
    count = length(later) * @turn

    [figures, their_figures] =
      for side <- [ours, theirs] do
        [seconds, processor] = for place <- [0, 1], do: side |> Enum.map(&Enum.at(&1, place)) |> Enum.sum()
        %{rate: count / seconds, processor: processor / count, peak: side |> Enum.map(&Enum.at(&1, 2)) |> Enum.max()}
      end

    ratios = Enum.zip_with(ours, theirs, fn [a | _], [b | _] -> b / a end)
    Table.header("LoRA of SmolLM2-135M", "Mlx", "mlx-lm")

    [columns, their_columns] =
      for figures <- [figures, their_figures], do: [figures.rate, figures.processor, figures.peak / 1.0e6]

    Table.print(["steps in a second", "processor seconds of a step", "most memory (MB)"], columns, their_columns)
    IO.puts("memory ratio: #{Table.format(figures.peak / their_figures.peak)}")
    IO.puts("lora ratio: #{Table.format(Rounds.median(ratios))}")
  end
end

Bench.LoRA.run(System.argv())
