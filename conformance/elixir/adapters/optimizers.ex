defmodule Mlx.Conformance.Optimizers do
  @moduledoc """
  Optimizers of Python, which hold their state, as those of `Mlx.Optimizers`, which return it.

  The state of a list of parameters is a list in Python, and a map by indices here.
  """

  alias Mlx.Array
  alias Mlx.Conformance.Transforms
  alias Mlx.Optimizers.MultiOptimizer

  @shared %{"step" => :step, "learning_rate" => :learning_rate}

  @doc "An adapter that makes an optimizer of a module."
  def make(module) do
    fn _call, %{learning_rate: rate}, options -> module.new(rate, options) end
  end

  @doc "`MultiOptimizer(optimizers, filters)`."
  def make_several(_call, %{optimizers: optimizers, filters: filters}, _options) do
    MultiOptimizer.new(optimizers, for(filter <- filters, do: &filter.([&1, &2], %{})))
  end

  @doc "`init(parameters)`, which returns the state."
  def init(_call, %{self: optimizer, parameters: parameters}, _options) do
    Mlx.Optimizers.init(optimizer, Transforms.container(parameters))
  end

  @doc "`apply_gradients(gradients, parameters)` with the state, which returns the parameters and the state."
  def update(_call, %{self: optimizer, gradients: gradients, parameters: parameters, state: state}, _options) do
    gradients = Transforms.container(gradients)
    state = state |> Transforms.container() |> whole_state(gradients)
    Mlx.Optimizers.update(optimizer, gradients, Transforms.container(parameters), state)
  end

  defp whole_state(%{"states" => states}, gradients), do: %{states: Enum.map(states, &whole_state(&1, gradients))}

  defp whole_state(state, gradients) do
    shared = for {name, key} <- @shared, value = state[name], into: %{}, do: {key, value}
    state |> Map.drop(Map.keys(@shared)) |> state(gradients) |> Map.merge(shared)
  end

  # What is remembered of a parameter, or the states of those in a container. Some may have none.
  defp state(remembered, %Array{}), do: Map.new(remembered, fn {name, value} -> {String.to_atom(name), value} end)

  defp state(states, gradients) when is_tuple(gradients), do: state(states, Tuple.to_list(gradients))
  defp state(states, gradients) when is_tuple(states), do: state(Tuple.to_list(states), gradients)

  defp state(states, gradients) when is_list(gradients) do
    for {{state, gradient}, index} <- states |> Enum.zip(gradients) |> Enum.with_index(),
        into: %{},
        do: {index, state(state, gradient)}
  end

  defp state(states, %{} = gradients) do
    for {key, gradient} <- gradients, is_map_key(states, key), into: %{}, do: {key, state(states[key], gradient)}
  end

  defp state(_states, _nothing), do: %{}

  @doc "A schedule for Python."
  def schedule(call, arguments, options) do
    schedule = call.(arguments, options)
    fn [step], _keywords -> step |> array() |> schedule.() |> array() end
  end

  defp array(number) when is_number(number), do: Mlx.array(number)
  defp array(array), do: array
end
