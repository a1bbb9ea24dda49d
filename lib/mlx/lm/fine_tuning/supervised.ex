defmodule Mlx.LM.FineTuning.Supervised do
  @moduledoc false
  # Trainings and evaluations with given texts, by `Mlx.Training`.

  alias Mlx.{NN, Optimizers, Training}
  alias Mlx.Arguments.{CalledFunction, Given, OptionKinds, Options}
  alias Mlx.LM.{FineTuning, PackedCache, TrainingData}
  alias Mlx.LM.FineTuning.{Loss, Objective, Split}

  @own [
    batch_size: {4, :at_least_one},
    sort: {true, :boolean},
    shuffle: {true, :boolean},
    pack: {false, :boolean},
    validation_batches: {nil, {:optional, :at_least_one}},
    gradient_checkpoint: {false, :boolean}
  ]

  @doc "The training, whose model is the trained part. `options` are those of `Mlx.LM.FineTuning.train/4`."
  @spec run(FineTuning.t(), TrainingData.t() | Training.batches(), Optimizers.t(), keyword()) :: Training.t()
  def run(tuning, data, optimizer, options) do
    {own, options} = own(options)
    objective = Objective.new(tuning, own, options[:type], "train")
    Objective.check_pairs!(objective, [data, options[:validation]], "train")
    if own[:pack], do: PackedCache.check!(tuning.decoder, "Mlx.LM.FineTuning.train", ":pack")
    batches = batches(data, own)
    trained = Split.trained(tuning.decoder, tuning.kind, tuning.first)
    around = tuning.decoder |> Split.around(trained, options[:type]) |> Mlx.eval()
    checkpoint = own[:gradient_checkpoint]
    loss = fn trained, batch -> Objective.loss(objective, Split.merged(around, trained), batch, checkpoint) end

    options =
      if options[:validation],
        do: options |> Keyword.update!(:validation, &validation(&1, own)) |> with_metrics(objective, around),
        else: options

    CalledFunction.name(
      "Mlx.LM.FineTuning.train",
      ["Mlx.Training.run", "Mlx.LM.Decoder.training_logits", Objective.name()],
      fn ->
        Training.run(trained, loss, optimizer, batches, [count: &Loss.counted/1] ++ options)
      end
    )
  end

  defp own(options) do
    if not Keyword.keyword?(options) do
      raise ArgumentError, "Mlx.LM.FineTuning.train: expected options to be a keyword list, got: #{Given.text(options)}"
    end

    table = @own ++ Objective.options()
    {own, others} = Keyword.split(options, Keyword.keys(table))
    own = Keyword.merge(OptionKinds.defaults(table), own)
    OptionKinds.check!(table, own, "Mlx.LM.FineTuning.train: ")
    {own, others}
  end

  defp with_metrics(options, objective, around) do
    metrics =
      for {name, metric} <- Objective.metrics(objective),
          do: {name, fn trained, batch -> around |> Split.merged(trained) |> metric.(batch) end}

    if metrics == [], do: options, else: Keyword.update(options, :metrics, metrics, &(metrics ++ &1))
  end

  defp batches(%TrainingData{} = data, own) do
    texts = Keyword.take(own, [:sort, :shuffle, :pack])
    named(fn -> TrainingData.batches(data, own[:batch_size], [drop_last: true] ++ texts) end)
  end

  defp batches(batches, _own), do: batches

  defp validation(%TrainingData{} = data, own) do
    options = [mean_of: :all, limit: own[:validation_batches], pack: own[:pack]]
    named(fn -> TrainingData.batches(data, own[:batch_size], options) end)
  end

  defp validation(batches, _own), do: batches

  defp named(fun), do: CalledFunction.name("Mlx.LM.FineTuning.train", ["Mlx.LM.TrainingData.batches"], fun)

  @doc "The loss of an objective and its metrics. `options` are those of `Mlx.LM.FineTuning.evaluate/3`."
  @spec evaluate(FineTuning.t(), Enumerable.t(), keyword()) :: %{atom() => number() | atom()}
  def evaluate(tuning, batches, options) do
    table = Objective.options()
    options = Options.complete(options, :"LM.FineTuning.evaluate", OptionKinds.defaults(table))
    OptionKinds.check!(table, options, "Mlx.LM.FineTuning.evaluate: ")
    objective = Objective.new(tuning, options, nil, "evaluate")
    around = NN.eval(tuning.decoder)
    loss = fn decoder, batch -> Objective.loss(objective, decoder, batch, false) end

    functions =
      for {name, fun} <- [{:loss, loss} | Objective.metrics(objective)],
          do: {name, fn _nothing, batch -> fun.(around, batch) end}

    CalledFunction.name(
      "Mlx.LM.FineTuning.evaluate",
      ["Mlx.Training.evaluate", "Mlx.LM.Decoder.training_logits", Objective.name()],
      fn ->
        Training.evaluate(%{}, functions, batches)
      end
    )
  end
end
