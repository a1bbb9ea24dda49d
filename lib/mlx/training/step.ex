defmodule Mlx.Training.Step do
  @moduledoc false
  # What one step computes, compiled: the gradients of its batches, and what the optimizer makes of them.

  alias Mlx.{Array, NN, Optimizers, Random, Training, Tree}
  alias Mlx.Training.Settings

  @typedoc "The loss, and the training after a step with these batches."
  @type t :: (Training.t(), [Tree.t()] -> {Array.t(), Training.t()})

  @doc "The step for a loss, an optimizer and settings."
  @spec new(function(), Optimizers.t(), Settings.t()) :: t()
  def new(loss, optimizer, settings) do
    gradients = NN.value_and_grad(in_type(loss, settings.type), frozen: settings.frozen)
    update = &update(optimizer, settings.clip_norm, &1, &2, &3)
    if settings.accumulate == 1, do: whole(gradients, update), else: in_parts(gradients, update, settings.frozen)
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

    fn training, [batch] ->
      {value, model, state, random} = compiled.(training.model, training.optimizer_state, training.random, batch)
      {value, %{training | model: model, optimizer_state: state, random: random}}
    end
  end

  # The gradients of each batch are added before the next one is taken, so that one batch at a time is in memory.
  defp in_parts(gradients, update, frozen) do
    add = Mlx.compile(&add(gradients, &1, &2, &3, &4), donate: [0])

    finish =
      Mlx.compile(
        fn sums, count, model, state ->
          {value, gradients} = Tree.map(sums, &Mlx.divide(&1, count))
          {model, state} = update.(gradients, model, state)
          {value, model, state}
        end,
        donate: [0, 2, 3]
      )

    fn training, batches ->
      {sums, training} = Enum.reduce(batches, {zeros(training.model, frozen), training}, &part(add, &1, &2))
      {value, model, state} = finish.(sums, length(batches), training.model, training.optimizer_state)
      {value, %{training | model: model, optimizer_state: state}}
    end
  end

  defp zeros(model, frozen) do
    {trained, _kept} = NN.freeze(model, frozen)
    {Mlx.array(0.0), Tree.map(trained, &Mlx.zeros_like/1)}
  end

  defp part(add, batch, {sums, training}) do
    {sums, model, random} = Mlx.async_eval(add.(sums, training.model, training.random, batch))
    {sums, %{training | model: model, random: random}}
  end

  defp add(gradients, {value_sum, gradient_sum}, model, random, batch) do
    {{value, gradients, model}, random} = Random.with_state(random, fn -> gradients.(model, batch) end)
    sums = {Mlx.add(value_sum, value), Tree.map(gradient_sum, [gradients], &Mlx.add/2)}
    {sums, model, random}
  end
end
