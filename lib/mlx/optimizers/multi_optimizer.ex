defmodule Mlx.Optimizers.MultiOptimizer do
  @moduledoc """
  Several optimizers, each for some of the parameters.

  A filter is a function of the path of a parameter and of an array; each parameter goes to the first optimizer whose filter
  is true for it, and to the last one, which has no filter, if none is.

      iex> matrix? = fn path, array -> tuple_size(array.shape) == 2 and not String.starts_with?(path, "embedding") end
      iex> optimizer =
      ...>   Mlx.Optimizers.MultiOptimizer.new([Mlx.Optimizers.Muon.new(0.02), Mlx.Optimizers.AdamW.new(0.001)], [matrix?])
      iex> parameters = %{embedding: Mlx.ones({8, 4}), layer: %{weight: Mlx.ones({4, 4}), bias: Mlx.ones({4})}}
      iex> state = Mlx.Optimizers.init(optimizer, parameters)
      iex> for {path, _array} <- Mlx.Tree.flatten(state), do: path
      ["states.0.layer.weight.v", "states.0.learning_rate", "states.0.step", "states.1.embedding.m",
       "states.1.embedding.v", "states.1.layer.bias.m", "states.1.layer.bias.v", "states.1.learning_rate",
       "states.1.step"]

  Its state is `%{states: states}`, a list of the states of the optimizers.

  Python: `mlx.optimizers.MultiOptimizer`.
  """

  @behaviour Mlx.Optimizers.Optimizer

  alias Mlx.{Array, Optimizers, Tree}
  alias Mlx.Arguments.{ArgumentType, Given}

  @enforce_keys [:optimizers, :filters]
  defstruct @enforce_keys

  @typedoc "Whether a parameter with this path is an optimizer's."
  @type filter :: (String.t(), Array.t() -> as_boolean(term()))

  @typedoc "The optimizer."
  @type t :: %__MODULE__{optimizers: [Optimizers.t(), ...], filters: [filter()]}

  @doc """
  An optimizer made of several, with a filter for each but the last one.

  The array that a filter gets is the parameter in `Mlx.Optimizers.init/2` and its gradient in `Mlx.Optimizers.update/4`:
  what it says must follow from the path and the shape.

      iex> optimizers = [Mlx.Optimizers.SGD.new(0.5), Mlx.Optimizers.SGD.new(1.0)]
      iex> optimizer = Mlx.Optimizers.MultiOptimizer.new(optimizers, [fn path, _array -> path == "a" end])
      iex> parameters = %{a: Mlx.array(1.0), b: Mlx.array(1.0)}
      iex> state = Mlx.Optimizers.init(optimizer, parameters)
      iex> {new, _state} = Mlx.Optimizers.update(optimizer, parameters, parameters, state)
      iex> {Mlx.to_number(new.a), Mlx.to_number(new.b)}
      {0.5, 0.0}

  Raises `ArgumentError` when the filters are not one fewer than the optimizers. Python: `mlx.optimizers.MultiOptimizer`.
  """
  @spec new([Optimizers.t()], [filter()]) :: t()
  def new(optimizers, filters \\ []) do
    check!(ArgumentType.list?(optimizers) and Enum.all?(optimizers, &is_struct/1), "a list of optimizers", optimizers)

    check!(
      ArgumentType.list?(filters) and Enum.all?(filters, &is_function(&1, 2)),
      "filters, a list of functions of two arguments",
      filters
    )

    check!(
      length(filters) == length(optimizers) - 1,
      "#{length(optimizers) - 1} filters for #{length(optimizers)} optimizers",
      filters
    )

    %__MODULE__{optimizers: optimizers, filters: filters}
  end

  defp check!(true, _expected, _given), do: :ok

  defp check!(false, expected, given) do
    raise ArgumentError, "Mlx.Optimizers.MultiOptimizer.new: expected #{expected}, got: #{Given.text(given)}"
  end

  @impl true
  def init(%{optimizers: optimizers} = optimizer, parameters) do
    %{states: Enum.zip_with(optimizers, split(optimizer, parameters), &Optimizers.init/2)}
  end

  @impl true
  def update(%{optimizers: optimizers} = optimizer, gradients, parameters, %{states: states})
      when length(states) == length(optimizers) do
    {states, parameters} =
      [optimizers, split(optimizer, gradients), states]
      |> Enum.zip()
      |> Enum.map_reduce(parameters, fn {optimizer, gradients, state}, parameters ->
        {parameters, state} = Optimizers.update(optimizer, gradients, parameters, state)
        {state, parameters}
      end)

    {parameters, %{states: states}}
  end

  def update(%{optimizers: optimizers}, _gradients, _parameters, state) do
    raise ArgumentError,
          "Mlx.Optimizers.update: expected %{states: states} with the states of #{length(optimizers)} optimizers, " <>
            "got: #{Given.text(state)}"
  end

  # One container for each optimizer, with nil in place of what is not its own.
  defp split(%{filters: filters}, container) do
    {parts, rest} = Enum.map_reduce(filters, container, fn filter, rest -> Tree.partition(rest, filter) end)
    parts ++ [rest]
  end
end
