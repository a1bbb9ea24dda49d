defmodule Mlx.NN.Recurrence do
  @moduledoc false
  # What recurrent layers have in common: one step after another along the axis before the last. The products of the
  # inputs with a matrix are made before, all at once.

  alias Mlx.Array

  @doc """
  What `step.(input, state)` returns for the input of each step and the state that the step before returned, stacked
  along the axis of the steps. The state is a tuple of arrays.
  """
  @spec scan(Array.t(), tuple(), (Array.t(), tuple() -> tuple())) :: [Array.t()]
  def scan(x, state, step) do
    {states, _last} =
      x
      |> Mlx.unstack(axis: -2)
      |> Enum.map_reduce(state, fn input, state ->
        state = step.(input, state)
        {Tuple.to_list(state), state}
      end)

    Enum.zip_with(states, &Mlx.stack(&1, axis: -2))
  end

  @doc "A uniform array between `-1 / sqrt(hidden_size)` and `1 / sqrt(hidden_size)`."
  @spec parameter(tuple(), pos_integer()) :: Array.t()
  def parameter(shape, hidden_size) do
    scale = 1.0 / :math.sqrt(hidden_size)
    Mlx.Random.uniform(shape, low: -scale, high: scale)
  end

  @doc "Raises unless the input has an axis of steps with one step or more, and so many features."
  @spec check!(Array.t(), pos_integer(), String.t()) :: :ok
  def check!(%Array{shape: shape} = x, size, function) do
    if tuple_size(shape) < 2 or elem(shape, tuple_size(shape) - 2) == 0 do
      raise ArgumentError, "#{function}: expected an input of the shape {..., length, #{size}}, got: #{inspect(shape)}"
    end

    Mlx.NN.Features.check!(x, size, function)
  end
end
