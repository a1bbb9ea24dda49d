defmodule Mlx.LM.Grammar.Budget do
  @moduledoc false
  # How much may be done to make automata of a grammar: the most states of one automaton, and a number of steps for all of
  # them, among them those that are thrown away. So a grammar that is made to take long is refused in bounded time and memory.

  # A step looks at one state or one range; a second has about a million of them.
  @steps 5_000_000

  @enforce_keys [:states, :steps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{states: integer(), steps: :counters.counters_ref()}

  @doc "A budget of so many states."
  @spec new(integer()) :: t()
  def new(states) do
    steps = :counters.new(1, [])
    :counters.put(steps, 1, @steps)
    %__MODULE__{states: states, steps: steps}
  end

  @doc "The budget with fewer states."
  @spec less(t(), integer()) :: t()
  def less(budget, states), do: %{budget | states: budget.states - states}

  @doc "Takes steps. Throws `:too_large` where there were too many, or where `size` is over `most`."
  @spec take!(t(), pos_integer(), integer(), integer()) :: :ok
  def take!(%__MODULE__{steps: steps}, count, size, most) do
    :counters.sub(steps, 1, count)
    if size > most or :counters.get(steps, 1) < 0, do: throw(:too_large), else: :ok
  end
end
