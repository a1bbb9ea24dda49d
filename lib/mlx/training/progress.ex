defmodule Mlx.Training.Progress do
  @moduledoc false
  # What a terminal shows of a training: a line that is written anew at each report, and stays at the end of an epoch.

  alias Mlx.Training
  alias Mlx.Training.Settings

  @digits 4

  @doc "Shows the last report, with the steps in a second."
  @spec report(Training.t(), float(), Settings.t()) :: :ok
  def report(_training, _rate, %{progress: nil}), do: :ok

  def report(training, rate, settings) do
    if IO.ANSI.enabled?(),
      do: write(settings, ["\r", line(training, rate, settings), IO.ANSI.format([:clear_line_end])])

    :ok
  end

  defp line(%{losses: [{_step, loss} | _]} = training, rate, settings) do
    "#{place(training, settings)}  loss #{number(loss)}  " <>
      "#{:erlang.float_to_binary(rate, decimals: 1)} steps/s"
  end

  defp line(_training, _rate, _settings), do: "before the first step"

  defp place(training, %{epochs: :infinity, steps: steps}),
    do: "epoch #{training.epoch + 1}  step #{training.step}/#{steps}"

  defp place(training, %{epochs: epochs}), do: "epoch #{training.epoch + 1}/#{epochs}  step #{training.step}"

  @doc "Shows a validation between the ends of epochs."
  @spec validation(Training.t(), float(), Settings.t()) :: :ok
  def validation(_training, _rate, %{progress: nil}), do: :ok

  def validation(training, rate, settings) do
    write(settings, [start(), line(training, rate, settings), validation(training), "\n"])
  end

  @doc "Shows the last step, where no validation did."
  @spec last(Training.t(), float(), Settings.t()) :: :ok
  def last(_training, _rate, %{progress: progress, validate_every: every}) when progress == nil or every != nil, do: :ok
  def last(training, rate, settings), do: write(settings, [start(), line(training, rate, settings), "\n"])

  @doc "Shows the end of an epoch, with the values of its validation."
  @spec epoch(Training.t(), float(), Settings.t()) :: :ok
  def epoch(_training, _rate, %{progress: nil}), do: :ok

  def epoch(training, rate, settings) do
    shown = line(%{training | epoch: training.epoch - 1}, rate, settings)
    write(settings, [start(), shown, validation(training), "\n"])
  end

  defp start, do: if(IO.ANSI.enabled?(), do: "\r", else: "")

  defp validation(%{validations: []}), do: ""

  defp validation(%{validations: [{_step, values} | _]}) do
    for {name, value} <- Enum.sort(values), do: "  validation #{name} #{number(value)}"
  end

  defp number(value) when is_float(value), do: :erlang.float_to_binary(value, decimals: @digits)
  defp number(value), do: to_string(value)

  defp write(settings, text), do: IO.write(settings.progress, text)
end
