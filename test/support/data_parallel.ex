defmodule Mlx.DataParallel do
  @moduledoc """
  A small training on the parts of batches that the processes of a group have, for tests. In a group of one process it is
  the training on whole batches.
  """

  alias Mlx.{Distributed, NN, Optimizers, Tree}
  alias Mlx.NN.{Activations, Linear, Losses}

  @batch 16
  @steps 12

  @doc "The numbers of the model after the training."
  @spec train(Distributed.Group.t()) :: [number()]
  def train(group) do
    Mlx.Random.seed(1)
    model = [Linear.new(3, 32), &Activations.tanh/1, Linear.new(32, 1)]
    {x, y} = data()
    optimizer = Optimizers.AdamW.new(0.01)
    state = Optimizers.init(optimizer, model)
    loss = fn model, x, y -> x |> NN.forward(model) |> Losses.mse_loss(y) end

    step =
      Mlx.compile(fn {model, state}, x, y ->
        {_value, gradients, model} = NN.value_and_grad(loss).(model, x, y)
        gradients = NN.average_gradients(gradients, group: group)
        {model, state} = Optimizers.update(optimizer, gradients, model, state)
        {model, state}
      end)

    {model, _state} =
      Enum.reduce(1..@steps, {model, state}, fn number, acc ->
        step.(acc, part(x, number, group), part(y, number, group))
      end)

    for array <- Tree.arrays(model), number <- array |> Mlx.reshape(-1) |> Mlx.to_list(), do: number
  end

  defp data do
    x = Mlx.Random.normal({@batch * @steps, 3})
    {x, x |> Mlx.sin() |> Mlx.sum(axes: [1], keep_axes: true)}
  end

  # Of the batch of a step.
  defp part(array, number, group) do
    size = div(@batch, group.size)
    start = (number - 1) * @batch + group.rank * size
    Mlx.slice(array, [start, 0], [size, elem(array.shape, 1)])
  end

  @doc "Prints the numbers of the model in the first process."
  @spec print([number()], Distributed.Group.t()) :: :ok
  def print(numbers, %{rank: 0}), do: IO.puts("weights " <> Enum.join(numbers, " "))
  def print(_numbers, _group), do: :ok

  @doc "The numbers among what was printed."
  @spec parse(String.t()) :: [float()]
  def parse(output) do
    [_, numbers] = Regex.run(~r/weights (.*)/, output)
    for number <- String.split(numbers), do: String.to_float(number)
  end
end
