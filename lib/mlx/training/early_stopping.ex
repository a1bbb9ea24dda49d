defmodule Mlx.Training.EarlyStopping do
  @moduledoc false
  # Whether a training still gets better.

  alias Mlx.Training
  alias Mlx.Training.Settings

  @doc "The training with the best value so far, and the epochs since then."
  @spec watch(Training.t(), map() | nil, Settings.t()) :: Training.t()
  def watch(training, _values, %{early_stopping: nil}), do: training

  def watch(training, values, %{early_stopping: options}) do
    value = Map.fetch!(values, options.metric)

    if better?(value, training.best, options),
      do: %{training | best: value, waited: 0},
      else: %{training | waited: training.waited + 1}
  end

  # NaN and infinity, which are atoms, are never better.
  defp better?(value, _best, _options) when not is_number(value), do: false
  defp better?(_value, nil, _options), do: true
  defp better?(value, best, %{mode: :min, min_delta: delta}), do: value < best - delta
  defp better?(value, best, %{mode: :max, min_delta: delta}), do: value > best + delta

  @doc "Whether it has not become better for as many epochs as it may."
  @spec stop?(Training.t(), Settings.t()) :: boolean()
  def stop?(_training, %{early_stopping: nil}), do: false
  def stop?(training, %{early_stopping: options}), do: training.waited >= options.patience
end
