defmodule Mix.Mlx.FineTuningReport do
  @moduledoc false
  # What `mix mlx.lora` shows of a training: a line for each report and validation, and at the end the curves and figures.

  alias Mlx.LM.FineTuning
  alias Mlx.Training
  alias Mlx.Training.Curve

  @enforce_keys [:tuning, :options, :clock, :first, :silent]
  defstruct @enforce_keys

  @type t :: %__MODULE__{tuning: FineTuning.t(), options: keyword(), clock: atom(), first: boolean(), silent: boolean()}

  @doc "The report of a training. Of several processes, the first one speaks."
  @spec new(FineTuning.t(), keyword(), Mlx.Distributed.Group.t()) :: t()
  def new(tuning, options, group) do
    first = group.rank == 0

    %__MODULE__{
      tuning: tuning,
      options: options,
      clock: __MODULE__,
      first: first,
      silent: not first or options[:json] == true
    }
  end

  @doc "Says what is trained, and starts the clock."
  @spec start(t(), Mlx.LM.TrainingData.t(), Mlx.LM.TrainingData.t() | nil) :: :ok
  def start(report, data, validation) do
    count = FineTuning.parameter_count(report.tuning)
    percent = Float.round(100 * count.trained / count.all, 3)
    say(report, "Trained: #{count.trained} of #{count.all} parameters (#{percent} %), #{report.tuning.kind}")
    texts = if validation, do: " and #{validation.count}", else: ", and none"
    say(report, "Texts: #{data.count} with #{data.tokens} tokens for the training#{texts} for validations")
    Process.put(report.clock, {now(), nil, 0, now()})
    :ok
  end

  @doc "The callback of the training."
  @spec callback(t()) :: (atom(), Training.t() -> :ok)
  def callback(report) do
    fn
      :report, training -> reported(report, training)
      :validation, training -> validated(report, training)
      :epoch, _training -> :ok
    end
  end

  # The steps before the first report of this run were those of another.
  defp reported(report, %{losses: [{step, loss} | others]} = training) do
    {since, _rate, counted, began} = Process.get(report.clock)
    before = with [{step, _loss} | _] <- others, do: step, else: ([] -> 0)
    seconds = max(now() - since, 1.0e-6)
    rate = (step - before) / seconds
    tokens = (training.counted - counted) / seconds
    Process.put(report.clock, {now(), rate, training.counted, began})
    left = round((report.options[:steps] - step) / rate)
    learning = Mlx.to_number(training.optimizer_state.learning_rate)

    say(
      report,
      "step #{step}/#{report.options[:steps]}  loss #{number(loss)}  #{Float.round(rate, 2)} steps/s  " <>
        "#{Float.round(tokens, 1)} tokens/s  learning rate #{short(learning)}  #{time(left)} left"
    )

    if report.first and rem(step, report.options[:save_every]) == 0,
      do: report.tuning |> FineTuning.put(training) |> FineTuning.save(report.options[:output])

    :ok
  end

  defp validated(report, %{validations: [{step, values} | _]}) do
    {_since, rate, counted, began} = Process.get(report.clock)
    Process.put(report.clock, {now(), rate, counted, began})
    others = for {name, value} <- Enum.sort(Map.delete(values, :loss)), do: "  #{name} #{number(value)}"
    say(report, "step #{step}/#{report.options[:steps]}  validation loss #{number(values.loss)}#{others}")
  end

  @doc "Says how it ended."
  @spec finish(t(), FineTuning.t(), Training.t(), number() | atom() | nil) :: :ok
  def finish(report, tuned, training, test) do
    {_since, _rate, _counted, began} = Process.get(report.clock)
    figures = figures(report, tuned, training, test, now() - began)
    if path = report.options[:plot], do: File.write!(path, Curve.to_svg(Training.curve(training)))

    if report.options[:json] do
      IO.puts(JSON.encode!(figures))
    else
      if length(training.losses) > 1, do: say(report, "\n" <> Curve.to_text(Training.curve(training)) <> "\n")
      if test, do: say(report, "Test loss #{number(test)}#{perplexity(test, report.options[:objective])}")
      say(report, "Peak memory: #{Float.round(figures.peak_memory / 1.0e6, 1)} MB")
      say(report, "#{report.options[:output]}: the adapter, after #{training.step} steps")
    end
  end

  defp figures(report, tuned, training, test, seconds) do
    validations = for {step, values} <- Enum.reverse(training.validations), do: [step, values.loss]
    losses = for {step, loss} <- Enum.reverse(training.losses), do: [step, loss]
    count = FineTuning.parameter_count(tuned)

    %{
      adapter: report.options[:output],
      kind: tuned.kind,
      steps: training.step,
      tokens: training.counted,
      seconds: Float.round(seconds, 3),
      losses: losses,
      validations: validations,
      test_loss: test,
      trained_parameters: count.trained,
      parameters: count.all,
      peak_memory: Mlx.Memory.peak()
    }
  end

  # The loss of pairs is none of tokens.
  defp perplexity(_loss, objective) when objective not in [nil, :likelihood], do: ""
  defp perplexity(loss, _objective) when is_number(loss) and loss < 700, do: ", perplexity #{number(:math.exp(loss))}"
  defp perplexity(_loss, _objective), do: ", perplexity infinity"

  defp number(number) when is_float(number), do: :erlang.float_to_binary(number, decimals: 4)
  defp number(other), do: to_string(other)

  defp short(number) when is_float(number), do: :erlang.float_to_binary(number, scientific: 2)
  defp short(other), do: to_string(other)

  defp time(seconds) when seconds < 60, do: "#{seconds} s"
  defp time(seconds) when seconds < 3600, do: "#{div(seconds, 60)} min #{rem(seconds, 60)} s"
  defp time(seconds), do: "#{div(seconds, 3600)} h #{div(rem(seconds, 3600), 60)} min"

  defp now, do: System.monotonic_time(:microsecond) / 1.0e6

  defp say(%{silent: true}, _line), do: :ok
  defp say(_report, line), do: IO.puts(line)
end
