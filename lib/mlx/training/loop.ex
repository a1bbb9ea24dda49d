defmodule Mlx.Training.Loop do
  @moduledoc false
  # The epochs of a training: steps, reports, validations, checkpoints and callbacks, in this order.

  alias Mlx.{Random, Telemetry, Training}
  alias Mlx.Training.{Checkpoint, EarlyStopping, Passes, Prefetch, Processes, Progress, Settings, Step, Window}

  @enforce_keys [:settings, :step, :validate, :batches]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          settings: Settings.t(),
          step: Step.t(),
          validate: (Training.t() -> map()) | nil,
          batches: Passes.t()
        }

  @doc "The training after all epochs or steps, or after the epoch in which it was stopped."
  @spec run(t(), Training.t()) :: Training.t()
  def run(%{settings: %{validate_every: every} = settings} = loop, %{step: 0, validations: []} = training)
      when every != nil do
    case validation(loop, training, Window.new()) do
      {:cont, training, _window} -> epochs(loop, training)
      {:halt, training, _window} -> save(training, settings) && training
    end
  end

  def run(loop, training), do: epochs(loop, training)

  defp epochs(%{settings: settings} = loop, training) do
    if done?(training, settings) or EarlyStopping.stop?(training, settings) do
      training
    else
      case epoch(loop, training) do
        {:cont, training} -> epochs(loop, training)
        {:halt, training} -> training
      end
    end
  end

  defp done?(training, %{epochs: epochs, steps: steps}) do
    (is_integer(epochs) and training.epoch >= epochs) or (steps != nil and training.step >= steps)
  end

  defp epoch(loop, training) do
    [order, key] = training.order |> Random.split() |> Mlx.unstack() |> Mlx.eval()

    case steps(loop, training, key) do
      {:halt, {training, _window}} -> {:halt, training}
      {:cont, {%{batch: 0} = training, _window}} -> no_batches!("the batches of epoch #{training.epoch + 1}")
      {:cont, {training, window}} -> finish(loop, training, window, order)
    end
  end

  @doc "Raises for batches that are none."
  @spec no_batches!(String.t()) :: no_return()
  def no_batches!(batches) do
    raise ArgumentError,
          "Mlx.Training.run: #{batches} are none; give an Enumerable that can be gone through once an epoch, or a " <>
            "function of the epoch that returns one"
  end

  defp steps(%{settings: settings} = loop, training, key) do
    pass = fn ->
      loop.batches
      |> Passes.of(training.epoch + 1)
      |> Stream.drop(training.batch)
      |> Stream.map(&Processes.part!(&1, settings.group))
    end

    pass
    |> Prefetch.stream(key, settings.prefetch)
    |> Stream.chunk_every(settings.accumulate)
    |> Enum.reduce_while({:cont, {training, Window.new()}}, fn batches, {:cont, state} ->
      {decision, state} = step(loop, batches, state)
      {decision, {decision, state}}
    end)
  end

  defp step(%{settings: settings} = loop, batches, {training, window}) do
    {loss, training} = loop.step.(training, batches)
    training = %{training | step: training.step + 1, batch: training.batch + length(batches)}
    counts = counts(settings, batches)
    Mlx.async_eval({loss, training.model, training.optimizer_state, training.random, counts})
    window = Window.add(window, loss, counts)
    last? = training.step == settings.steps

    if last? or Enum.any?([:report_every, :checkpoint_every, :validate_every], &due?(training, settings, &1)) do
      {reported, training, window} = report(loop, training, window)

      {validated, training, window} =
        if settings.validate_every && (last? or due?(training, settings, :validate_every)),
          do: validation(loop, training, window),
          else: {:cont, training, window}

      decision = if last? or :halt in [reported, validated], do: :halt, else: :cont
      if last?, do: Progress.last(training, window.rate, settings)
      if decision == :halt or due?(training, settings, :checkpoint_every), do: save(training, settings)
      {decision, {training, window}}
    else
      {:cont, {training, window}}
    end
  end

  defp counts(%{count: nil}, _batches), do: []
  defp counts(%{count: count}, batches), do: for({batch, _weight} <- batches, do: count.(batch))

  defp counted(%{count: nil}, _window), do: 0
  defp counted(%{group: group}, window), do: window |> Window.counted() |> Processes.sum(group)

  defp due?(training, settings, name) do
    every = Map.fetch!(settings, name)
    every != nil and rem(training.step, every) == 0
  end

  # Nothing where the last step was reported already.
  defp report(_loop, training, %{losses: []} = window), do: {:cont, training, window}

  defp report(%{settings: settings}, training, window) do
    {loss, next} = Window.close(window)

    training = %{
      training
      | losses: [{training.step, loss} | training.losses],
        counted: training.counted + counted(settings, window)
    }

    measurements = %{loss: loss, steps: length(window.losses), duration: next.started - window.started}
    Telemetry.execute([:training, :report], measurements, %{step: training.step, epoch: training.epoch + 1})
    Progress.report(training, next.rate, settings)
    {call(settings, :report, training), training, next}
  end

  defp finish(%{settings: settings} = loop, training, window, order) do
    {reported, training, window} = report(loop, training, window)
    training = %{training | epoch: training.epoch + 1, batch: 0, order: order}

    training =
      if settings.validate_every && not done?(training, settings), do: training, else: validated(loop, training)

    Progress.epoch(training, window.rate, settings)
    save(training, settings)
    ended = call(settings, :epoch, training)
    {if(:halt in [reported, ended], do: :halt, else: :cont), training}
  end

  defp validated(%{validate: nil}, training) do
    Telemetry.execute([:training, :epoch], %{}, %{step: training.step, epoch: training.epoch})
    training
  end

  defp validated(%{validate: validate, settings: settings}, training) do
    values = validate.(training)
    Telemetry.execute([:training, :epoch], values, %{step: training.step, epoch: training.epoch})
    EarlyStopping.watch(with_validation(training, values), values, settings)
  end

  # A validation between the ends of epochs. Its time counts for no rate.
  defp validation(%{settings: settings} = loop, training, window) do
    values = loop.validate.(training)
    Telemetry.execute([:training, :validation], values, %{step: training.step, epoch: training.epoch + 1})
    training = EarlyStopping.watch(with_validation(training, values), values, settings)
    Progress.validation(training, window.rate, settings)
    stop? = EarlyStopping.stop?(training, settings)
    decision = call(settings, :validation, training)
    {if(stop?, do: :halt, else: decision), training, Window.new(window.rate)}
  end

  # That of one step is not computed twice.
  defp with_validation(%{validations: [{step, _former} | _] = validations, step: step} = training, _values),
    do: %{training | validations: validations}

  defp with_validation(training, values),
    do: %{training | validations: [{training.step, values} | training.validations]}

  # All are called, whatever the first ones return. All processes end when it is so in one of them.
  defp call(settings, event, training) do
    halt? = :halt in for(callback <- settings.callbacks, do: callback.(event, training))
    if Processes.any?(settings.group, halt?), do: :halt, else: :cont
  end

  defp save(_training, %{checkpoint: nil}), do: :ok

  # The first process writes, and the others wait for it.
  defp save(training, %{checkpoint: path, group: group}) do
    {_training, :ok} = Processes.in_first(group, fn -> Checkpoint.save(training, path) end, & &1)

    if group == nil or group.rank == 0 do
      bytes = File.stat!(path).size
      Telemetry.execute([:training, :checkpoint], %{bytes: bytes}, %{step: training.step, path: path})
    end
  end
end
