Code.require_file("rounds.exs", __DIR__)

defmodule Bench.LoRASides do
  @moduledoc false
  # LoRA of SmolLM2-135M on livebooks/owl, here and by mlx-lm's trainer (lora.py), from the same adapters with the same batches:
  # both make so many steps by turns.
  #
  # A turn has the wall's seconds and the processor's, the most memory, the losses of its steps, and with `validate: count` the
  # mean loss of so many texts after them.

  alias Bench.Rounds
  alias Mlx.LM.{FineTuning, TrainingData}

  @data Path.expand("../livebooks/owl", __DIR__)
  @rate 1.0e-4
  @settings [layers: 16, rank: 8, scale: 20.0, seed: 1]

  @doc "Calls `fun` with a folder that is gone afterwards, which has the model of MLX_TEST_MODEL in `model`."
  def in_folder(fun) do
    folder = Path.join(System.tmp_dir!(), "mlx-bench-lora-#{System.pid()}")
    File.mkdir_p!(folder)

    try do
      Mlx.LM.convert(System.fetch_env!("MLX_TEST_MODEL"), Path.join(folder, "model"), dequantize: true, type: :f32)
      Mlx.Memory.clear_cache()
      fun.(folder)
    after
      File.rm_rf!(folder)
    end
  end

  @doc """
  The turns of both sides, and the model that was trained here. `settings` has `:steps`, `:turn`, `:batch_size`, `:max_length` and
  `:validate`. mlx-lm's adapter is in `theirs` of the folder.
  """
  def run(folder, settings) do
    model = Path.join(folder, "model")
    tuning = FineTuning.load(model, @settings)
    [start, theirs] = for name <- ["start", "theirs"], do: Path.join(folder, name)
    FineTuning.save(tuning, start)
    trainer = start(tuning, settings)
    numbers = for name <- [:steps, :turn, :batch_size, :max_length, :validate], do: settings[name]
    arguments = Enum.map([model, start, theirs, @data | numbers] ++ [@rate], &to_string/1)
    count = div(settings[:steps], settings[:turn])
    turns = Rounds.alternate("lora.py", arguments, count, fn -> turn(trainer) end)

    receive do
      {:tuned, tuned} -> {for({ours, theirs} <- turns, do: {figures(ours, settings), figures(theirs, settings)}), tuned}
    end
  end

  defp figures([seconds, processor, peak | losses], settings) do
    {losses, validation} = Enum.split(losses, settings[:turn])
    %{seconds: seconds, processor: processor, peak: peak, losses: losses, validation: List.first(validation)}
  end

  defp start(tuning, settings) do
    bench = self()
    turn = settings[:turn]
    data = data(tuning, "train", settings)
    validation = validation(tuning, settings)

    wait = fn
      :report, %{step: step} = training when rem(step, turn) == 0 ->
        {seconds, processor} = Process.get(:started)
        figures = [now() - seconds, processor_time() - processor, Mlx.Memory.peak()]
        losses = for {_step, loss} <- training.losses |> Enum.take(turn) |> Enum.reverse(), do: loss
        after_them = if validation, do: [tuning |> FineTuning.put(training) |> FineTuning.loss(validation)], else: []
        send(bench, {:turn, figures ++ losses ++ after_them})
        if step < settings[:steps], do: await()

      _event, _training ->
        :ok
    end

    spawn_link(fn ->
      await()

      {tuned, _training} =
        FineTuning.train(tuning, data, Mlx.Optimizers.Adam.new(@rate),
          batch_size: settings[:batch_size],
          sort: false,
          shuffle: false,
          steps: settings[:steps],
          report_every: 1,
          callbacks: [wait],
          progress: nil
        )

      send(bench, {:tuned, tuned})
    end)
  end

  defp validation(tuning, settings) do
    if settings[:validate] > 0 do
      limit = div(settings[:validate], settings[:batch_size])
      TrainingData.batches(data(tuning, "valid", settings), settings[:batch_size], mean_of: :all, limit: limit)
    end
  end

  @doc "The texts of a file."
  def data(tuning, name, settings) do
    options = [mask_prompt: true, max_length: settings[:max_length]]
    TrainingData.open(Path.join(@data, "#{name}.jsonl"), tuning, options)
  end

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
end
