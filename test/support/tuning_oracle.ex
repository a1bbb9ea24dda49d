defmodule Mlx.TuningOracle do
  @moduledoc """
  The trainings of mlx-lm that `test/oracle/tuning.py` makes, and the same here.
  """

  alias Mlx.LM.FineTuning
  alias Mlx.Optimizers
  alias Mlx.Optimizers.Schedules

  @script Path.expand("../oracle/tuning.py", __DIR__)

  @doc "Has the oracle make or load the cases of a folder."
  def run!(action, folder) do
    {output, status} =
      System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, action, folder], stderr_to_stdout: true)

    if status != 0, do: raise("tuning.py failed: #{output}")
    :ok
  end

  # Where a case has another optimizer than Adam, or accumulates.
  @settings %{
    "lora-keys" => [optimizer: &Optimizers.AdamW.new/1],
    "lora-embedding" => [optimizer: &Optimizers.SGD.new/1, rate: 0.1],
    "full-experts" => [optimizer: &Optimizers.Adafactor.new/1],
    "lora-accumulated" => [accumulate: 2]
  }

  @doc "The settings of the training of a case: `:optimizer`, and `:accumulate`."
  def settings(name) do
    own = Map.get(@settings, name, [])
    new = Keyword.get(own, :optimizer, &Optimizers.Adam.new/1)
    rate = if name == "schedule", do: schedule(), else: Keyword.get(own, :rate, 1.0e-3)
    [optimizer: new.(rate), accumulate: Keyword.get(own, :accumulate, 1)]
  end

  defp schedule do
    warmup = Schedules.linear_schedule(0.0, 2.0e-3, 3)
    Schedules.join_schedules([warmup, Schedules.cosine_decay(2.0e-3, 6)], [4])
  end

  @doc "The batches of a case of one name, in their order."
  def batches(folder, name) do
    arrays = Mlx.eval(Mlx.IO.load(Path.join(folder, "batches.safetensors")))
    all = for number <- 0..1000, ids = arrays["#{name}.#{number}.ids"], do: {ids, arrays["#{name}.#{number}.lengths"]}
    counts = for {ids, lengths} <- all, do: counted(ids, lengths)
    whole = if name == "validation", do: {Enum.sum(counts), length(all) * Mlx.axis_size(elem(hd(all), 0), 0)}

    for {{ids, lengths}, count} <- Enum.zip(all, counts) do
      rows = Mlx.axis_size(ids, 0)
      [from, to] = Mlx.unstack(lengths, axis: 1)
      {tokens, all_rows} = whole || {count, rows}
      [tokens, all_rows] = for number <- [tokens, all_rows], do: Mlx.array(List.duplicate(number, rows), type: :s32)
      Mlx.eval(%{ids: ids, from: from, to: to, tokens: tokens, rows: all_rows})
    end
  end

  defp counted(ids, lengths) do
    last = Mlx.axis_size(ids, 1) - 1
    Enum.sum_by(Mlx.to_list(lengths), fn [from, to] -> min(to, last) - max(from, 1) + 1 end)
  end

  @doc "The training of a case here."
  def train(folder, name, options \\ []) do
    tuning = FineTuning.load(Path.join(folder, "model"), adapter: Path.join(folder, "start"))
    [{:optimizer, optimizer} | settings] = settings(name)
    defaults = [epochs: 1, report_every: 1, validation: batches(folder, "validation"), validate_every: 1, progress: nil]
    options = defaults |> Keyword.merge(settings) |> Keyword.merge(options)
    FineTuning.train(tuning, batches(folder, "train"), optimizer, options)
  end
end
