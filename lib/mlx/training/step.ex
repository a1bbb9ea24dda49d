defmodule Mlx.Training.Step do
  @moduledoc false
  # What one step computes, compiled: the gradients of its batches, and what the optimizer makes of them.
  #
  # A step of one batch and one process is one compiled function. Otherwise the gradients are one, and what the optimizer
  # makes of their sum is another; processes exchange the sums in between.

  alias Mlx.{Array, NN, Optimizers, Random, Training, Tree}
  alias Mlx.Training.{Processes, Settings}

  @typedoc "The part of a batch, and its weight in the mean; nil is 1."
  @type part :: {Tree.t(), Array.t() | nil}

  @typedoc "The loss, and the training after a step with these batches."
  @type t :: (Training.t(), [part()] -> {Array.t(), Training.t()})

  @doc "The step for a loss, an optimizer and settings."
  @spec new(function(), Optimizers.t(), Settings.t()) :: t()
  def new(loss, optimizer, settings) do
    gradients = NN.value_and_grad(in_type(loss, settings.type), frozen: settings.frozen)
    update = &update(optimizer, settings.clip_norm, &1, &2, &3)

    if settings.accumulate == 1 and settings.group == nil,
      do: whole(gradients, update),
      else: in_parts(gradients, update, settings.group)
  end

  @doc """
  A function of a model and a batch, computed in another type than `:f32`. What training keeps, such as running
  statistics, stays as it is.
  """
  @spec in_type(function(), Mlx.Type.t() | nil) :: function()
  def in_type(fun, nil), do: fun

  def in_type(fun, type) do
    fn model, batch ->
      {weights, kept} = NN.freeze(model)
      weights |> as_type(type) |> Tree.merge(kept) |> fun.(as_type(batch, type))
    end
  end

  defp as_type(container, type) do
    Tree.map(container, fn
      %Array{type: :f32} = array -> Mlx.as_type(array, type)
      array -> array
    end)
  end

  defp update(optimizer, clip_norm, gradients, model, state) do
    Optimizers.update(optimizer, clipped(gradients, clip_norm), model, state)
  end

  defp clipped(gradients, nil), do: gradients
  defp clipped(gradients, norm), do: gradients |> Optimizers.clip_grad_norm(norm) |> elem(0)

  defp whole(gradients, update) do
    compiled =
      Mlx.compile(
        fn model, state, random, batch ->
          {{value, gradients, model}, random} = Random.with_state(random, fn -> gradients.(model, batch) end)
          {model, state} = update.(gradients, model, state)
          {value, model, state, random}
        end,
        donate: [0, 1, 2]
      )

    fn training, [{batch, nil}] ->
      {value, model, state, random} = compiled.(training.model, training.optimizer_state, training.random, batch)
      {value, %{training | model: model, optimizer_state: state, random: random}}
    end
  end

  # The gradients of each batch are added before the next one is taken, so that one batch at a time is in memory.
  defp in_parts(gradients, update, group) do
    first = Mlx.compile(&part(gradients, group, &1, &2, &3, &4))

    next =
      Mlx.compile(
        fn sums, model, random, batch, weight ->
          {parts, replaced, random} = part(gradients, group, model, random, batch, weight)
          {Tree.map(sums, [parts], &Mlx.add/2), replaced, random}
        end,
        donate: [0]
      )

    finish =
      Mlx.compile(
        fn sums, count, model, state ->
          {value, gradients} = Tree.map(sums, &Mlx.divide(&1, Mlx.as_type(count, &1.type)))
          {model, state} = update.(gradients, model, state)
          {value, model, state}
        end,
        donate: [0, 2, 3]
      )

    fn training, [{batch, weight} | batches] ->
      start = first.(training.model, training.random, batch, weight) |> add_part(training)

      {sums, replaced, training} =
        Enum.reduce(batches, start, fn {batch, weight}, {sums, _replaced, training} ->
          next.(sums, training.model, training.random, batch, weight) |> add_part(training)
        end)

      {sums, model} = average(sums, replaced, training.model, group)
      count = Mlx.array(1.0 + length(batches))
      {value, model, state} = finish.(sums, count, model, training.optimizer_state)
      {value, %{training | model: model, optimizer_state: state}}
    end
  end

  # The loss and the gradients of a batch, each times the weight of the batch, and the arrays of the model that the loss
  # replaced, such as running statistics.
  defp part(gradients, group, model, random, batch, weight) do
    {{value, gradients, new}, random} = Processes.with_random(group, random, fn -> gradients.(model, batch) end)
    replaced = Tree.map(new, [model], fn new, old -> if new != old, do: new end)
    {Tree.map({value, gradients}, &weighted(&1, weight)), replaced, random}
  end

  defp weighted(array, nil), do: array
  defp weighted(array, weight), do: Mlx.multiply(array, Mlx.as_type(weight, array.type))

  defp add_part(part, training) do
    {sums, replaced, random} = Mlx.async_eval(part)
    {sums, replaced, %{training | model: with_replaced(training.model, replaced), random: random}}
  end

  defp with_replaced(model, replaced), do: Tree.merge(model, replaced, fn _old, new -> new end)

  # What the loss replaced is averaged as well, so that all processes go on with the same model.
  defp average(sums, _replaced, model, nil), do: {sums, model}

  defp average(sums, replaced, model, group) do
    {sums, replaced} = NN.average_gradients({sums, replaced}, group: group)
    {sums, with_replaced(model, replaced)}
  end
end
