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
    "epoch #{training.epoch + 1}/#{settings.epochs}  step #{training.step}  loss #{number(loss)}  " <>
      "#{:erlang.float_to_binary(rate, decimals: 1)} steps/s"
  end

  @doc "Shows the end of an epoch, with the values of its validation."
  @spec epoch(Training.t(), float(), Settings.t()) :: :ok
  def epoch(_training, _rate, %{progress: nil}), do: :ok

  def epoch(training, rate, settings) do
    start = if IO.ANSI.enabled?(), do: "\r", else: ""
    shown = line(%{training | epoch: training.epoch - 1}, rate, settings)
    write(settings, [start, shown, validation(training), "\n"])
  end

  defp validation(%{validations: []}), do: ""

  defp validation(%{validations: [{_step, values} | _]}) do
    for {name, value} <- Enum.sort(values), do: "  validation #{name} #{number(value)}"
  end

  defp number(value) when is_float(value), do: :erlang.float_to_binary(value, decimals: @digits)
  defp number(value), do: to_string(value)

  defp write(settings, text), do: IO.write(settings.progress, text)
end
