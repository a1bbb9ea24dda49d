defmodule Mlx.GroupTraining do
  @moduledoc """
  Trainings by `Mlx.Training` in the processes of a group, for tests. In a group of one process they are those on whole
  batches.
  """

  alias Mlx.{Distributed, NN, Optimizers, Random, Training, Tree}
  alias Mlx.NN.{Activations, BatchNorm, Dropout, Linear, Losses}

  @rows 45

  @doc "A training of a perceptron on shuffled batches that two processes cannot share equally. It uses no random numbers."
  @spec perceptron(Distributed.Group.t(), keyword()) :: Training.t()
  def perceptron(group, options \\ []) do
    # Another model and another order in each process, were they not those of the first one.
    Random.seed(1 + group.rank)
    model = [Linear.new(3, 16), &Activations.tanh/1, Linear.new(16, 1)]
    error = fn model, batch -> batch.x |> NN.forward(model) |> Mlx.subtract(batch.y) |> Mlx.abs() |> Mlx.mean() end
    validation = Training.batches(data(), 11)

    run(model, group, Training.batches(data(), 15, shuffle: true),
      epochs: 4,
      report_every: 2,
      validation: validation,
      metrics: [error: error],
      early_stopping: [patience: 100],
      options: options
    )
  end

  @doc "A training with running statistics, dropout and a seed."
  @spec noisy(Distributed.Group.t(), keyword()) :: Training.t()
  def noisy(group, options) do
    Random.seed(1)
    model = [Linear.new(3, 16), BatchNorm.new(16), Dropout.new(p: 0.5), Linear.new(16, 1)]
    run(model, group, Training.batches(data(), 9, shuffle: true), epochs: 2, seed: 4, options: options)
  end

  defp run(model, group, batches, options) do
    {others, options} = Keyword.pop!(options, :options)
    options = ([group: group, progress: nil] ++ options) |> Keyword.merge(others)
    loss = fn model, batch -> batch.x |> NN.forward(model) |> Losses.mse_loss(batch.y) end
    Training.run(model, loss, Optimizers.AdamW.new(0.01), batches, options)
  end

  @doc "The rows that all processes have."
  @spec data() :: %{x: Mlx.Array.t(), y: Mlx.Array.t()}
  def data do
    x = Random.normal({@rows, 3}, key: Random.key(9))
    %{x: x, y: x |> Mlx.sin() |> Mlx.sum(axes: [1], keep_axes: true)}
  end

  @doc "The numbers of the model, then the losses of reports and the values of validations."
  @spec numbers(Training.t()) :: [number()]
  def numbers(training) do
    model = for array <- Tree.arrays(training.model), number <- Mlx.to_flat_list(array), do: number
    losses = for {_step, loss} <- training.losses, do: loss
    values = for {_step, values} <- training.validations, {_name, value} <- Enum.sort(values), do: value
    model ++ losses ++ values ++ List.wrap(training.best)
  end

  @doc "What `digest` gives is the same for trainings that are the same to the last bit."
  @spec digest(Training.t()) :: integer()
  def digest(training), do: training |> Tree.map(&Mlx.to_binary/1) |> :erlang.phash2()
end
